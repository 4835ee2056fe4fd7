"""A suite's values a face, on disk and back."""

from pathlib import Path
from typing import Any

import numpy as np

from fertool.runtime.files import write_csv
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


def read_columns(path: Path) -> Columns:
    """The columns of a suite's CSV, float64 (N,) each; an empty cell is nan."""
    with path.open(encoding="utf-8") as handle:
        names = handle.readline().strip().split(",")
        # a number for each empty cell first: numpy reads numbers alone quickly
        lines = [[cell or "nan" for cell in line.rstrip("\n").split(",")] for line in handle]
    values = np.array(lines, dtype=np.float64).reshape(len(lines), len(names))
    return {name: values[:, column] for column, name in enumerate(names)}
