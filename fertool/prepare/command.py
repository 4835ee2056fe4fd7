"""A source of faces -> the faces of a workspace."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import DamagedError, Interrupted, UserError
from fertool.prepare.dataset_summary import dataset_record, dataset_summary
from fertool.prepare.ferplus import read_ferplus
from fertool.prepare.make_faces import make_faces
from fertool.prepare.near_twins import NearPairs, find_near_pairs, same_picture
from fertool.prepare.sets.data_set import Candidate
from fertool.prepare.sets.registry import revised
from fertool.prepare.settings import DEFAULTS, PrepareSettings
from fertool.prepare.sources.open_source import content_hash, open_source
from fertool.prepare.synthetic.source import SYNTHETIC
from fertool.prepare.twin_sheet import check_target, write_twin_sheet
from fertool.prepare.twins import TwinGroups, number_groups, number_twins, twin_figures
from fertool.prepare.write_faces import FileRecords, remove_leftovers, write_faces, write_near_twins
from fertool.runtime.reading import read_json
from fertool.summary import Summary
from fertool.workspace import SPLITS, Run, Workspace

# raise them when the same source and settings would give other faces
REVISION = 2
SYNTHETIC_REVISION = 3


def prepare(
    workspace: Workspace,
    source: str | Path,
    settings: PrepareSettings = DEFAULTS,
    *,
    preview_twins: Path | None = None,
    force: bool = False,
) -> Summary:
    """Make the faces of `workspace` from `source` and describe them in its dataset.json.

    Args:
        workspace: where the faces go.
        source: the FER2013 challenge's csv, or `[<split>/]<emotion>/<picture>` folders, as they are or in an
            archive; or the word "synthetic".
        settings: what to make of it.
        preview_twins: a PNG to draw pairs of near twins in, and of pictures that are not quite. Default: none.
        force: make the faces again, even where they are up to date.

    Returns:
        A table of classes by splits, and notes on what was recognised and left out.

    Raises:
        UserError: for anything wrong with source or settings, and where runs in the workspace were trained on
            other faces; the workspace is as it was before.
    """
    settings.check_source(source)
    if preview_twins is not None:
        check_target(preview_twins)
    try:
        summary, pairs = _prepare(workspace, source, settings, force)
        if preview_twins is None:
            return summary
        return replace(summary, notes=[*summary.notes, write_twin_sheet(workspace, preview_twins, pairs)])
    except KeyboardInterrupt as error:
        raise Interrupted("the same command begins again") from error


def _prepare(
    workspace: Workspace, source: str | Path, settings: PrepareSettings, force: bool
) -> tuple[Summary, NearPairs | None]:
    """Make the faces where they are not up to date; also the near twins of all splits where they were looked for."""
    crowd = None if settings.ferplus is None else read_ferplus(settings.ferplus)
    made_from = _made_from(workspace, source, settings)
    products = [path(split) for split in SPLITS for path in (workspace.faces, workspace.faces_csv)]
    if not force and workspace.is_current(workspace.dataset_json, made_from, products):
        remove_leftovers(workspace)
        pairs = None
        if source != SYNTHETIC and workspace.dataset().get("near_twins") is None:
            pairs = _count_near_twins(workspace)
        note = "up to date: made from this source with these settings already"
        return dataset_summary(workspace.dataset(), [note]), pairs
    _refuse_under_runs(workspace, made_from)

    made = make_faces(source, settings, crowd, apart=workspace.root)
    faces = made.faces
    order = np.argsort([SPLITS.index(split) for split in faces.splits], kind="stable")
    twins = TwinGroups(np.empty(len(faces), np.int64))
    twins.identical[order] = number_twins(faces.images[order])
    if made.pictures is not None:
        near = np.empty(len(faces), np.int64)
        near[order] = number_groups(made.pictures[order])
        twins = replace(twins, near=near)
    dataset = dataset_record(made, twins, source, crowd, made_from)
    write_faces(workspace, faces, twins, dataset, lambda files: _refuse_others(workspace, made_from, files))
    pairs = None if made.near_pairs is None else made.near_pairs.among(order, faces.images)
    return dataset_summary(dataset, []), pairs


def _count_near_twins(workspace: Workspace) -> NearPairs:
    """Find the near twins among the faces of a workspace that an earlier version made."""
    images = np.concatenate([workspace.load_faces(split) for split in SPLITS])
    labels = np.concatenate([workspace.load_labels(split) for split in SPLITS])
    splits = np.concatenate([[split] * len(workspace.load_faces(split)) for split in SPLITS])
    pairs = find_near_pairs(images)
    groups = number_groups(same_picture(images, pairs))
    write_near_twins(workspace, splits, groups, asdict(twin_figures(groups, labels, splits)))
    return pairs


def _made_from(workspace: Workspace, source: str | Path, settings: PrepareSettings) -> dict[str, Any]:
    """The record of what the faces depend on: revisions of the algorithm and of sets, settings, inputs' hashes."""
    inputs = {"source": SYNTHETIC}
    if source != SYNTHETIC:
        inputs["source"] = content_hash(Path(source), apart=workspace.root)
    if settings.ferplus is not None:
        inputs["ferplus"] = content_hash(settings.ferplus)
    if settings.list_file is not None:
        # a list in the source is part of the source's hash
        is_file = settings.list_file.is_file()
        inputs["list"] = content_hash(settings.list_file) if is_file else str(settings.list_file)
    revision = SYNTHETIC_REVISION if source == SYNTHETIC else REVISION
    made_from: dict[str, Any] = {"revision": revision, "settings": settings.record(source), "inputs": inputs}
    if source != SYNTHETIC and not settings.tells_labels:
        with open_source(Path(source), apart=workspace.root) as files:
            made_from |= {"sets": sets} if (sets := revised(Candidate(files, settings))) else {}
    return json.loads(json.dumps(made_from))


def _of_any_revision(made_from: object) -> object:
    return {**made_from, "revision": None, "sets": None} if isinstance(made_from, dict) else made_from


def _refuse_others(workspace: Workspace, made_from: dict[str, Any], files: FileRecords) -> None:
    """Raise UserError where runs were trained on other faces than `files`, which are about to take their place.

    Runs can have begun since the faces were read, or lie beside faces without a dataset.json; and the same source can
    give other faces with another version of OpenCV.
    """
    _refuse_under_runs(workspace, made_from)
    for run in workspace.runs():
        trained_on = _inputs(run)
        if any(trained_on.get(name, file["sha256"]) != file["sha256"] for name, file in files.items()):
            raise UserError(
                f"{workspace.root}: run {run.name} was trained on other faces than these; prepare them in a workspace "
                "of their own (--workspace DIR), or remove runs/ first"
            )


def _inputs(run: Run) -> dict[str, str]:
    """The files that a run was trained on and their hashes; empty where its record is damaged."""
    try:
        return dict(read_json(run.run_json)["made_from"]["inputs"])
    except (UserError, KeyError, TypeError, ValueError):
        return {}


def _refuse_under_runs(workspace: Workspace, made_from: dict[str, Any]) -> None:
    """Raise UserError where runs were trained on other faces than those about to be made."""
    if not workspace.runs() or not workspace.dataset_json.exists():
        return
    try:
        dataset = workspace.dataset()
    except DamagedError:
        return  # which faces they are is told by their hashes, once the new ones are there
    # another revision may give the same faces: `_refuse_others` compares their hashes once they are there
    if _of_any_revision(dataset.get("made_from")) != _of_any_revision(made_from):
        raise UserError(
            f"{workspace.root}: holds runs trained on {dataset['name']} as prepared before; prepare another "
            "source or with other settings in a workspace of its own (--workspace DIR), or remove runs/ first"
        )
