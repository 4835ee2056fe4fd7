"""Claims as they are handed in: a csv with a row a face, or a confusion matrix."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import EMOTIONS, class_name
from fertool.runtime.reading import damaged, read_text

LABEL = ("label", "true", "y_true", "true_label", "target", "actual", "emotion")
PREDICTED = ("predicted", "prediction", "pred", "y_pred", "predicted_label")
REMEDY = (
    "give a csv with the columns 'label' and 'predicted', a row for each face, or a confusion matrix of counts, true "
    "classes down"
)


@dataclass(frozen=True)
class Claim:
    """The claim: what a network is said to predict on some faces.

    `confusion` int64 (C, C) counts faces, true classes down. `classes` are the names of its rows, None where they are
    not given. `labels` and `predicted` int64 (N,) are codes of the classes, `ids` and `rows` (N,) tell the faces apart;
    None where they are not given, as for a confusion matrix.
    """

    file: Path
    confusion: np.ndarray
    classes: list[str] | None
    labels: np.ndarray | None = None
    predicted: np.ndarray | None = None
    ids: list[str] | None = None
    rows: np.ndarray | None = None

    @property
    def faces(self) -> int:
        """The number of faces."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """The number of faces whose class was predicted."""
        return int(np.trace(self.confusion))

    @property
    def correct(self) -> np.ndarray | None:
        """Whether each face's class was predicted, bool (N,)."""
        if self.labels is None or self.predicted is None:
            return None
        return np.asarray(self.labels == self.predicted)


def read_claim(file: Path) -> Claim:
    """The claim in a csv. Raises UserError where it is neither a table of predictions nor a matrix of counts."""
    try:
        lines = [row for row in csv.reader(io.StringIO(read_text(file, REMEDY), newline="")) if any(row)]
    except csv.Error as error:
        raise damaged(file, str(error), REMEDY) from None
    if len(lines) < 2:
        raise damaged(file, "fewer than two rows", REMEDY)
    header = [cell.strip().lower() for cell in lines[0]]
    label, predicted = (_column(header, names) for names in (LABEL, PREDICTED))
    if label is not None and predicted is not None:
        return _predictions(file, header, lines[1:], label, predicted)
    return _matrix(file, lines)


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _predictions(file: Path, header: list[str], lines: list[list[str]], label: int, predicted: int) -> Claim:
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise damaged(file, f"line {number} has {len(line)} values, and the header {len(header)}", REMEDY)
    names = {
        column: _names(file, [line[column] for line in lines], header[column])
        for column in (label, predicted)
    }
    found = dict.fromkeys([*names[label], *names[predicted]])
    classes = [*EMOTIONS, *(name for name in found if name not in EMOTIONS)]
    codes = {name: code for code, name in enumerate(classes)}
    labels, answers = (np.array([codes[name] for name in names[column]]) for column in (label, predicted))
    confusion = np.bincount(labels * len(classes) + answers, minlength=len(classes) ** 2)
    ids = [PurePosixPath(line[header.index("id")]).stem for line in lines] if "id" in header else None
    rows = _rows(file, [line[header.index("row")] for line in lines]) if "row" in header else None
    for column, values in (("id", ids), ("row", None if rows is None else rows.tolist())):
        if values is not None and len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise damaged(file, f"the {column} '{twice}' stands there twice", REMEDY)
    return Claim(file, confusion.reshape(len(classes), -1), classes, labels, answers, ids, rows)


def _names(file: Path, cells: list[str], column: str) -> list[str]:
    """The classes in a column: names, or the challenge's codes 0 to 6."""
    codes = [_number(cell) for cell in cells]
    if any(code is None for code in codes):
        empty = next((number for number, cell in enumerate(cells, start=2) if not cell.strip()), None)
        if empty is not None:
            raise damaged(file, f"line {empty}: no {column}", REMEDY)
        return [class_name(cell) for cell in cells]
    for number, code in enumerate(codes, start=2):
        if code not in range(len(EMOTIONS)):
            raise damaged(
                file,
                f"line {number}: {column} is '{cells[number - 2]}', and codes are 0 to 6",
                "give names of classes",
            )
    return [EMOTIONS[int(code)] for code in codes if code is not None]


def _rows(file: Path, cells: list[str]) -> np.ndarray:
    for number, cell in enumerate(cells, start=2):
        if not cell.strip().isdecimal():
            raise damaged(file, f"line {number}: row is '{cell}', no number from 0", REMEDY)
    return np.array([int(cell) for cell in cells])


def _matrix(file: Path, lines: list[list[str]]) -> Claim:
    named_rows = not lines[0][0].strip() or any(_number(line[0]) is None for line in lines[1:])
    header = not lines[0][0].strip() or any(_number(cell) is None for cell in lines[0][int(named_rows) :])
    body = [line[1:] if named_rows else line for line in lines[1 if header else 0 :]]
    size = len(body)
    if size < 2 or any(len(row) != size for row in body):
        raise damaged(
            file, f"{size} rows of {', '.join(sorted({str(len(row)) for row in body}))} values", REMEDY
        )
    numbers = np.array([[_number(cell) for cell in row] for row in body], dtype=np.float64)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        raise damaged(file, "cells that are no counts", REMEDY)
    if (numbers % 1).any():
        sums = ", ".join(f"{value:g}" for value in numbers.sum(axis=1).round(2)[:3])
        raise UserError(
            f"{file}: holds shares, not counts (rows add up to {sums}, ...); give the number of faces"
        )
    if not numbers.any():
        raise damaged(file, "no faces", REMEDY)
    down = _class_names(file, [line[0] for line in lines[1 if header else 0 :]] if named_rows else None)
    across = _class_names(file, lines[0][1 if named_rows else 0 :] if header else None)
    if down and across and down != across:
        raise UserError(f"{file}: rows are {', '.join(down)} and columns {', '.join(across)}; give one order")
    return Claim(file, numbers.astype(np.int64), down or across)


def _class_names(file: Path, names: list[str] | None) -> list[str] | None:
    """The classes of rows or columns; None where they are not given, or only numbered."""
    if names is None:
        return None
    codes = [_number(name) for name in names]
    if codes == list(range(len(codes))):  # pandas writes these where it is given no names
        return None
    classes = [class_name(name) for name in names]
    if len(set(classes)) < len(classes):
        raise UserError(f"{file}: two rows are of the same class ({', '.join(classes)}); correct the names")
    return classes


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
