"""The FER2013 challenge's own form: a csv with the columns emotion, pixels, Usage, a row a face."""

import codecs
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, NamedTuple

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import EMOTIONS, class_name
from fertool.prepare.sets.codes import CKEXTENDED, FER2013, in_words
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.decode import fit
from fertool.prepare.sources.labelled_faces import (
    CHALLENGE_COUNTS,
    CHALLENGE_NAME,
    CHALLENGE_SPLITS,
    LabelledFaces,
    challenge_id,
)
from fertool.prepare.sources.limits import refuse_memory
from fertool.prepare.sources.source_files import SourceFiles
from fertool.runtime.progress import progress_bar

COLUMNS = ("emotion", "pixels", "usage")
SIDE = 48
PIXELS = SIDE * SIDE
CK_STEM = "ckextended"
"""The file name of CK+ in the challenge's columns: nothing else tells it from FER2013."""

_CHUNK_ROWS = 1024
_LONGEST_HEADER = 4096  # bytes
_LONGEST_LINE = 2**17
"""Bytes; a row has some 9,300 at most. A longer line is cut here, and so refused by its number of pixels."""


def has_challenge_columns(files: SourceFiles, name: str) -> bool:
    """Whether a file begins with the challenge's header (names are compared without blanks and case)."""
    return set(COLUMNS) <= set(_read_header(files, name))


def _read_header(files: SourceFiles, name: str) -> list[str]:
    with files.reading(name) as stream:
        return _header(stream.readline(_LONGEST_HEADER))


def read_challenge_csv(files: SourceFiles, name: str, settings: PrepareSettings) -> LabelledFaces:
    """Read `fer2013.csv` or `icml_face_data.csv`, or `ckextended.csv`, whose code 7 is contempt.

    Raises UserError naming file and row for a row with another number of pixels than 48 x 48, a pixel that
    is not a whole number from 0 to 255, an emotion without a code or an unknown Usage. Rows are counted from 1
    without the header, lines with it.
    """
    where, size = files.where(name), settings.size
    is_ck = PurePosixPath(name).name.lower().startswith(CK_STEM)
    codes = settings.label_classes or (CKEXTENDED if is_ck else FER2013)
    classes = list(dict.fromkeys(codes.values()))
    chunks: list[np.ndarray] = []
    labels: list[int] = []
    usages: list[str] = []
    kept: list[list[str]] = []
    with files.reading(name) as stream, progress_bar("reading faces", files.sizes[name], "B") as bar:
        rows = _rows(stream, where, settings.keep)
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            chunks.append(_fitted(_parse_pixels(chunk), size))
            labels += [classes.index(_class(row, codes)) for row in chunk]
            usages += [_usage(row) for row in chunk]
            kept += [row.kept for row in chunk]
            refuse_memory(where, 2 * len(labels) * size * size)
            bar.update(sum(len(row.pixels) for row in chunk))
    if not labels:
        raise UserError(f"{where}: no rows below the header; get the file again")
    is_whole = Counter(usages) == CHALLENGE_COUNTS
    file = PurePosixPath(name).name
    kind = f"CK+ in the challenge's columns, 7 is contempt ({file})" if is_ck else "challenge csv"
    return LabelledFaces(
        name=CHALLENGE_NAME if is_whole else file.split(".")[0],
        kind=kind,
        images=np.concatenate(chunks),
        classes=classes,
        labels=np.array(labels, np.int64),
        splits=np.array([CHALLENGE_SPLITS[usage] for usage in usages]),
        ids=np.array([challenge_id(usage, row) for row, usage in enumerate(usages)]),
        sources=np.full(len(labels), name),
        challenge_rows=None if is_ck else np.arange(len(labels)),
        columns={name: np.array([row[number] for row in kept]) for number, name in enumerate(settings.keep)},
    )


def advice(files: SourceFiles, tables: list[str]) -> str:
    """A line on what would help where none of a source's csv files has the challenge's columns."""
    headers = {name: _read_header(files, name) for name in tables}
    like = [name for name, header in headers.items() if "pixels" in header]
    names = {PurePosixPath(name).name.lower() for name in like}
    if {"train.csv", "test.csv"} <= names:
        return (
            f"{files.path}: Kaggle's train.csv and test.csv tell neither the splits nor the labels of test; give "
            "icml_face_data.csv or fer2013.csv, which come with them"
        )
    if not like:
        return (
            f"{files.where(tables[0])}: no csv with the columns emotion, pixels and Usage; give the "
            "challenge's fer2013.csv or icml_face_data.csv, or folders of pictures"
        )
    missing = [column for column in ("emotion", "pixels", "Usage") if column.lower() not in headers[like[0]]]
    hints = {
        "emotion": "the codes 0 to 6, as the challenge has them",
        "Usage": "Training, PublicTest or PrivateTest a row, which are train, val and test",
    }
    wanted = "; ".join(f"{column} ({hints[column]})" for column in missing)
    return (
        f"{files.where(like[0])}: no column {wanted}; add it, or give icml_face_data.csv or fer2013.csv "
        "with the columns emotion, pixels and Usage"
    )


def _class(row: "_Row", codes: Mapping[str, str]) -> str:
    if row.emotion in codes:
        return codes[row.emotion]
    is_name = class_name(row.emotion) in EMOTIONS
    more = "; where 7 is contempt, give --label-map ckextended" if row.emotion == "7" else ""
    raise UserError(
        f"{row.where}: emotion '{row.emotion[:20]}' is {'a name and ' if is_name else ''}not one of the codes "
        f"{min(codes)} to {max(codes)} ({in_words(codes)}){more}"
    )


def _usage(row: "_Row") -> str:
    if row.usage not in CHALLENGE_SPLITS:
        raise UserError(
            f"{row.where}: unknown Usage '{row.usage[:20]}' (Training, PublicTest and PrivateTest are known)"
        )
    return row.usage


class _Row(NamedTuple):
    where: str
    emotion: str
    pixels: bytes
    usage: str
    kept: list[str]


def _rows(stream: IO[bytes], where: str, keep: Sequence[str]) -> Iterator[_Row]:
    lines = enumerate(iter(lambda: stream.readline(_LONGEST_LINE), b""), 1)
    header = _header(next(lines)[1])
    emotion, pixels, usage = (header.index(column) for column in COLUMNS)
    for name in keep:
        if name.lower() not in header:
            raise UserError(f"--keep {name}: {where} has no such column (there are {', '.join(header)})")
    kept = [header.index(name.lower()) for name in keep]
    row = 0
    for number, line in lines:
        if line.isspace():
            continue
        row += 1
        here = f"{where}: row {row} (line {number})"
        fields = _columns(line)
        if len(fields) != len(header):
            raise UserError(
                f"{here}: {len(fields)} columns where {len(header)} belong; "
                "the file is truncated or damaged, get it again"
            )
        yield _Row(
            here,
            fields[emotion].decode(),
            fields[pixels],
            fields[usage].decode(),
            [fields[column].decode(errors="replace") for column in kept],
        )


def _header(line: bytes) -> list[str]:
    return [
        column.decode(errors="replace").lower() for column in _columns(line.removeprefix(codecs.BOM_UTF8))
    ]


def _columns(line: bytes) -> list[bytes]:
    # no field of this form holds a comma or a line break, so csv's own reader, which is slow on rows as
    # long as these, has nothing to add but the quotes around fields that some programs write
    return [field.strip(b' "\r\n') for field in line.split(b",")]


def _parse_pixels(rows: list[_Row]) -> np.ndarray:
    """The pixels of some rows, uint8 (rows, PIXELS): all at once, row by row only where that fails."""
    joined = b" ".join(row.pixels for row in rows)
    if all(row.pixels.count(b" ") == PIXELS - 1 for row in rows) and not joined.translate(
        None, b"0123456789 "
    ):
        values = np.fromstring(joined, dtype=np.int64, sep=" ")
        if values.size == len(rows) * PIXELS and values.max() <= 255:
            return values.astype(np.uint8).reshape(-1, PIXELS)
    return np.stack([_parse_row(row) for row in rows])


def _parse_row(row: _Row) -> np.ndarray:
    values = row.pixels.split()
    for number, value in enumerate(values, 1):
        if not (value.isdigit() and len(value) <= 3 and int(value) <= 255):
            shown = value[:20].decode(errors="replace")
            raise UserError(f"{row.where}: pixel {number} is '{shown}', not a whole number from 0 to 255")
    if len(values) != PIXELS:
        raise UserError(f"{row.where}: {len(values)} pixels where {SIDE} x {SIDE} = {PIXELS} belong")
    return np.array([int(value) for value in values], dtype=np.uint8)


def _fitted(pixels: np.ndarray, size: int) -> np.ndarray:
    faces = pixels.reshape(-1, SIDE, SIDE)
    return faces if size == SIDE else np.stack([fit(face, size) for face in faces])
