"""The order of rows that were made elsewhere: that of the split, or that of a csv with the faces' ids."""

from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.runtime.reading import csv_column, damaged, read_csv
from fertool.workspace import Workspace

REMEDY = "give a csv with a column 'id', a row for each row of the file"


def source_rows(workspace: Workspace, split: str, count: int, ids_csv: Path | None, file: Path) -> np.ndarray:
    """For each face of a split the row of the file that is of it, int64 (N,).

    Args:
        workspace: where the faces lie.
        split: the split.
        count: the number of rows in the file.
        ids_csv: a csv whose column `id` names the face of each row; None: rows follow the split.
        file: the file, for errors.

    Raises:
        UserError: the file has not a row for each face, or the csv names a face twice, or one that there is not.
    """
    own = [row["id"] for row in workspace.load_face_rows(split, ["id"])]
    if count != len(own):
        raise UserError(
            f"{file}: {count:,} rows, and '{split}' has {len(own):,} faces; give a row for each face"
        )
    if ids_csv is None:
        return np.arange(count)
    ids = csv_column(ids_csv, read_csv(ids_csv, REMEDY, ["id"]), "id", str, REMEDY)
    if len(ids) != count:
        raise damaged(ids_csv, f"{len(ids):,} rows, and {file.name} has {count:,}", REMEDY)
    known = set(own)
    if len(known) < len(own):
        raise UserError(
            f"{workspace.faces_csv(split)}: ids stand there twice, so that rows cannot be named by them"
        )
    row_of: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name not in known:
            raise damaged(
                ids_csv, f"line {row + 2}: '{name}' is no face of '{split}', as {own[0]} is", REMEDY
            )
        if name in row_of:
            raise damaged(ids_csv, f"line {row + 2}: '{name}' stands in line {row_of[name] + 2} too", REMEDY)
        row_of[name] = row
    return np.array([row_of[name] for name in own])
