"""A suite's values a face, on disk and back."""

from pathlib import Path
from typing import Any

import numpy as np

from fertool.runtime.files import write_csv
from fertool.runtime.reading import REMAKE, damaged, read_text
from fertool.score.evaluated_run import Columns


def region_column(kind: str, region: str) -> str:
    """The column that holds a region's values of a kind, as `share_face_contour`."""
    return f"{kind}_{region.replace(' ', '_')}"


def write_columns(path: Path, columns: Columns) -> None:
    """Write columns (N,) as CSV behind the faces' rows: six digits, and nothing where there is no number."""
    faces = len(next(iter(columns.values())))
    write_csv(path, ["row", *columns], zip(range(faces), *map(_cells, columns.values()), strict=True))


def _cells(values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else f"{value:.6g}" for value in values]
    return values.astype(int).tolist()


def read_columns(path: Path, remedy: str = REMAKE, rows: int | None = None) -> Columns:
    """The columns of a suite's CSV, float64 (N,) each; an empty cell is nan.

    Args:
        path: the file, as `write_columns` wrote it.
        remedy: what to do where it is damaged, see `fertool.runtime.reading`.
        rows: the number of rows that there must be; None: any.

    Raises:
        DamagedError: where the file is not there, is not text, holds what is no number, or has other rows.
    """
    header, *lines = read_text(path, remedy).splitlines() or [""]
    names = header.split(",")
    # numpy reads numbers alone quickly, so each empty cell becomes one first
    cells = [[cell or "nan" for cell in line.split(",")] for line in lines]
    for number, row in enumerate(cells, start=2):
        if len(row) != len(names):
            raise damaged(path, f"line {number} has not {len(names)} values, as its header has", remedy)
    if rows is not None and len(cells) != rows:
        raise damaged(path, f"{len(cells):,} rows where {rows:,} faces are", remedy)
    try:
        values = np.array(cells, dtype=np.float64).reshape(len(cells), len(names))
    except ValueError as error:
        raise damaged(path, str(error), remedy) from None
    return {name: values[:, column] for column, name in enumerate(names)}
