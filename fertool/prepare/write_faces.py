"""Faces and their dataset.json -> the files of a workspace, all of them or none."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.prepare.ferplus import ANSWERS
from fertool.prepare.sources.labelled_faces import LabelledFaces
from fertool.prepare.twins import TwinGroups
from fertool.runtime.files import write_csv, write_npy, write_npz, write_record
from fertool.runtime.locks import alone
from fertool.runtime.progress import log
from fertool.workspace import SPLITS, Workspace

_BESIDE = ".prepare-"

COLUMNS = ("row", "id", "label", "source", "twin_group")
"""The columns of faces/<split>.csv, before the crowd's votes and those that the source brings."""

PERSON = "person"

NEAR_COLUMNS = ("split", "row", "near_group")
"""The columns of faces/near_twins.csv, a row for each face with a near or identical twin."""

FileRecords = dict[str, dict[str, Any]]
"""The size and hash of each file, by its path beside dataset.json."""


def write_faces(
    workspace: Workspace,
    faces: LabelledFaces,
    twins: TwinGroups,
    dataset: dict[str, Any],
    check: Callable[[FileRecords], None],
) -> None:
    """Write everything into a folder beside, dataset.json too, then move it into place.

    The old dataset.json goes first and the new one comes last, so that it never describes faces that are not its
    own.

    Args:
        workspace: where the files go.
        faces: the faces with their splits.
        twins: the faces' twin groups.
        dataset: the content of dataset.json but for its `products`.
        check: called with the record of the new files once nobody else can write here, before anything is
            replaced; what it raises leaves the workspace as it was.
    """
    folder = workspace.faces(SPLITS[0]).parent
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder}: no folder but a link or a file, where faces belong; remove it")
    with alone([workspace.dataset_json]):
        _remove_left_by_a_kill(workspace)
        with tempfile.TemporaryDirectory(dir=workspace.root, prefix=_BESIDE) as name:
            beside = Workspace(name)
            files = [file for split in SPLITS for file in _write_split(beside, split, faces, twins.identical)]
            if twins.near is not None:
                write_csv(beside.near_twins, NEAR_COLUMNS, _near_table(faces.splits, twins.near))
                files.append(beside.near_twins)
            records = beside.products(beside.dataset_json, files)
            write_record(beside.dataset_json, {**dataset, "products": records})
            check(records)
            if _are_there(workspace, records):
                beside.dataset_json.replace(workspace.dataset_json)
            else:
                _move(beside, workspace)
    log.info("faces written to %s", workspace.root)


def remove_leftovers(workspace: Workspace) -> None:
    """Remove what a killed call left beside the faces; a call that is at work is waited for."""
    if any(workspace.root.glob(f"{_BESIDE}*")):
        with alone([workspace.dataset_json]):
            _remove_left_by_a_kill(workspace)


def _remove_left_by_a_kill(workspace: Workspace) -> None:
    for folder in workspace.root.glob(f"{_BESIDE}*"):
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)


def _write_split(
    workspace: Workspace, split: str, faces: LabelledFaces, twin_groups: np.ndarray
) -> list[Path]:
    """Write the files of a split and return their paths."""
    rows = np.flatnonzero(faces.splits == split)
    write_npy(workspace.faces(split), faces.images[rows])
    vote_columns = [] if faces.votes is None else [f"votes_{answer}" for answer in ANSWERS]
    columns = [*COLUMNS, *vote_columns, *own_columns(faces)]
    write_csv(workspace.faces_csv(split), columns, _table(faces, twin_groups, rows))
    files = [workspace.faces(split), workspace.faces_csv(split)]
    if faces.truth:
        write_npz(workspace.truth(split), **{name: values[rows] for name, values in faces.truth.items()})
        files.append(workspace.truth(split))
    return files


def own_columns(faces: LabelledFaces) -> dict[str, np.ndarray]:
    """The columns that the source brings, by name: persons first."""
    persons = {} if faces.persons is None else {PERSON: faces.persons}
    return {**persons, **faces.columns}


def _table(faces: LabelledFaces, twin_groups: np.ndarray, rows: np.ndarray) -> Iterator[list[Any]]:
    own = list(own_columns(faces).values())
    for number, row in enumerate(rows.tolist()):
        group = int(twin_groups[row])
        yield [
            number,
            faces.ids[row],
            int(faces.labels[row]),
            faces.sources[row],
            "" if group < 0 else group,
            *([] if faces.votes is None else faces.votes[row].tolist()),
            *(values[row] for values in own),
        ]


def write_near_twins(
    workspace: Workspace, splits: np.ndarray, groups: np.ndarray, figures: dict[str, int]
) -> None:
    """Add near twins to faces that lie there without: their groups (N,), of faces in splits (N,), and their counts."""
    with alone([workspace.dataset_json]):
        write_csv(workspace.near_twins, NEAR_COLUMNS, _near_table(splits, groups))
        dataset = workspace.dataset()
        products = workspace.products(workspace.dataset_json, [workspace.near_twins])
        recorded = dataset.get("products", {}) | products
        write_record(workspace.dataset_json, {**dataset, "near_twins": figures, "products": recorded})


def _near_table(splits: np.ndarray, groups: np.ndarray) -> Iterator[list[Any]]:
    for split in SPLITS:
        for row, group in enumerate(groups[splits == split].tolist()):
            if group >= 0:
                yield [split, row, group]


def _are_there(workspace: Workspace, records: FileRecords) -> bool:
    """Whether the same files lie in the workspace already: a training that reads them is left in peace."""
    paths = {workspace.dataset_json.parent / name: record for name, record in records.items()}
    return (
        workspace.dataset_json.exists()
        and all(path.exists() and workspace.fingerprint(path) == paths[path]["sha256"] for path in paths)
        and all(
            path.exists() == (path in paths)
            for path in (workspace.near_twins, *(workspace.truth(split) for split in SPLITS))
        )
    )


def _move(beside: Workspace, workspace: Workspace) -> None:
    workspace.dataset_json.unlink(missing_ok=True)
    (workspace.root / "faces").mkdir(exist_ok=True)
    workspace.near_twins.unlink(missing_ok=True)
    if beside.near_twins.exists():
        beside.near_twins.replace(workspace.near_twins)
    for split in SPLITS:
        workspace.truth(split).unlink(missing_ok=True)
        for path in (Workspace.faces, Workspace.faces_csv, Workspace.truth):
            if path(beside, split).exists():
                path(beside, split).replace(path(workspace, split))
    beside.dataset_json.replace(workspace.dataset_json)
