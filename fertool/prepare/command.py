"""A source of faces -> the faces of a workspace."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.prepare.dataset_summary import dataset_summary
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.ferplus import ANSWERS, CrowdVotes, crowd_labels, read_ferplus
from fertool.prepare.settings import DEFAULTS, PrepareSettings
from fertool.prepare.sources.archives import SourceFiles, content_hash, open_source
from fertool.prepare.sources.challenge_csv import has_challenge_columns, read_challenge_csv
from fertool.prepare.sources.labelled_faces import UNTOLD, LabelledFaces
from fertool.prepare.sources.picture_folders import is_picture, read_picture_folders
from fertool.prepare.splits import with_splits
from fertool.prepare.synthetic.source import BACKGROUND, SYNTHETIC, draw, marked
from fertool.prepare.twins import leaks, number_twins, twin_figures
from fertool.runtime.files import write_csv, write_json, write_npy, write_npz
from fertool.runtime.locks import alone
from fertool.runtime.progress import log
from fertool.summary import Summary
from fertool.workspace import SPLITS, Workspace

# raise them when the same source and settings would give other faces
REVISION = 1
SYNTHETIC_REVISION = 3
_BESIDE = ".prepare-"


def prepare(
    workspace: Workspace,
    source: str | Path,
    settings: PrepareSettings = DEFAULTS,
    *,
    force: bool = False,
) -> Summary:
    """Make the faces of `workspace` from `source` and describe them in its dataset.json.

    Args:
        workspace: where the faces go.
        source: the FER2013 challenge's csv, or `[<split>/]<emotion>/<picture>` folders, as they are or in an
            archive; or the word "synthetic".
        settings: what to make of it.
        force: make the faces again, even where they are up to date.

    Returns:
        A table of classes by splits, and what else there is to know of the faces.

    Raises:
        UserError: for anything wrong with source or settings, and where runs in the workspace were trained on
            other faces; the workspace is as it was before.
    """
    settings.check_source(source)
    record = settings.record(source)
    if source == SYNTHETIC:
        inputs = {"source": SYNTHETIC}
    else:
        if not Path(source).exists():
            raise UserError(f"{source}: no such file or folder; check the path")
        inputs = {"source": content_hash(Path(source), apart=workspace.root)}
    crowd = None
    if settings.ferplus is not None:
        crowd = read_ferplus(settings.ferplus)
        inputs["ferplus"] = content_hash(settings.ferplus)
    revision = SYNTHETIC_REVISION if source == SYNTHETIC else REVISION
    made_from = json.loads(json.dumps({"revision": revision, "settings": record, "inputs": inputs}))
    products = [place(split) for split in SPLITS for place in (workspace.faces, workspace.faces_csv)]
    if not force and workspace.is_current(workspace.dataset_json, made_from, products):
        return dataset_summary(
            workspace.dataset(), ["up to date: made from just this source with these settings"]
        )
    _refuse_under_runs(workspace, made_from)

    where = str(source)
    wanted = (
        None if settings.labels == "ferplus" else settings.classes
    )  # FER+ moves faces between classes: choose after it
    if source == SYNTHETIC:
        faces = draw(settings.count, settings.seed, settings.size, settings.evidence).with_classes(
            wanted, where
        )
    else:
        with open_source(Path(source), apart=workspace.root) as files:
            faces = _read(files, settings.size, wanted)
    crowd_left_out = None
    if crowd is not None:
        faces = _with_votes(faces, crowd, where)
        if settings.labels == "ferplus":
            faces, crowd_left_out = _relabelled(faces)
            faces = faces.with_classes(settings.classes, where)
    if len(faces.images) == 0:
        raise UserError(f"{where}: no face of the classes to keep; correct --classes")
    split_origin = "the source"
    if (faces.splits == UNTOLD).any() or "val" not in faces.splits:
        faces, split_origin = with_splits(faces, settings.group_by, settings.seed, where)
    elif settings.group_by is not None:
        raise UserError(f"--group-by: {where} comes with splits of its own; leave it out")
    if settings.spurious or settings.evidence == BACKGROUND:
        faces = marked(faces, settings.seed, settings.evidence, settings.spurious)
    dropped = 0
    if settings.drop_leaks:
        leaking = leaks(number_twins(faces.images), faces.splits)
        dropped = int(leaking.sum())
        faces = faces.take(~leaking)
    order = np.argsort([SPLITS.index(split) for split in faces.splits], kind="stable")
    twin_groups = _in_order(number_twins(faces.images[order]), order)
    _refuse_empty(faces, where)

    dataset = {
        "name": faces.name,
        "kind": faces.kind,
        "classes": faces.classes,
        "image_shape": list(faces.images.shape[1:]),
        "splits": {
            split: {
                "count": int((faces.splits == split).sum()),
                "classes": {
                    name: int(((faces.splits == split) & (faces.labels == code)).sum())
                    for code, name in enumerate(faces.classes)
                },
            }
            for split in SPLITS
        },
        "split_origin": split_origin,
        "left_out": dict(faces.left_out),
        "source": {
            "name": Path(source).resolve().name if source != SYNTHETIC else SYNTHETIC,
            "sha256": inputs["source"] if source != SYNTHETIC else None,
        },
        "twins": asdict(twin_figures(twin_groups, faces.labels, faces.splits)),
        "leaks_dropped": dropped,
        "ferplus": None
        if crowd is None
        else {"name": crowd.path.name, "sha256": inputs["ferplus"], "left_out": crowd_left_out},
        "settings": record,
        "notes": list(faces.notes),
        "made_from": made_from,
    }
    _write(workspace, faces, twin_groups, dataset)
    return dataset_summary(dataset, [])


def _refuse_under_runs(workspace: Workspace, made_from: dict[str, Any]) -> None:
    """Raise UserError where runs were trained on other faces than those about to be made."""
    if not workspace.runs() or not workspace.dataset_json.exists():
        return
    dataset = workspace.dataset()
    if dataset.get("made_from") != made_from:
        raise UserError(
            f"{workspace.root}: holds runs trained on {dataset['name']} as prepared before; prepare another "
            "source or with other settings in a workspace of its own (--workspace DIR), or remove runs/ first"
        )


def _read(files: SourceFiles, size: int, classes: Sequence[str] | None) -> LabelledFaces:
    """Recognise the form of a source and read it."""
    where = str(files.path)
    if len(files.sizes) == 1 and not files.packed and files.path.is_file():
        tables = list(files.sizes)
    else:
        tables = [name for name in files.sizes if name.lower().endswith(".csv")]
    for name in tables:
        if has_challenge_columns(files, name):
            return read_challenge_csv(files, name, size).with_classes(classes, where)
    if any(is_picture(name) for name in files.sizes) and files.folders:
        return read_picture_folders(files, size, classes)
    if tables:
        raise UserError(
            f"{files.where(tables[0])}: no csv with the columns emotion, pixels and Usage; give the "
            "challenge's fer2013.csv or icml_face_data.csv, or folders of pictures"
        )
    raise UserError(
        f"{where}: holds neither the challenge's csv nor <emotion>/<picture> folders; check the path"
    )


def _with_votes(faces: LabelledFaces, crowd: CrowdVotes, where: str) -> LabelledFaces:
    if faces.challenge_rows is None:
        raise UserError(
            f"{where}: nothing tells which rows of FER2013 these faces are, so --ferplus cannot match them; "
            "give the challenge's csv, or pictures named <Usage>_<row>"
        )
    return replace(faces, votes=crowd.of(faces.challenge_rows, faces.ids))


def _relabelled(faces: LabelledFaces) -> tuple[LabelledFaces, dict[str, int]]:
    """The faces with the crowd's labels, and how many have none for which reason and are left out."""
    assert faces.votes is not None
    codes, left_out = crowd_labels(faces.votes)
    return replace(faces, classes=list(EMOTIONS), labels=codes).take(codes >= 0), left_out


def _in_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    back = np.empty_like(values)
    back[order] = values
    return back


def _refuse_empty(faces: LabelledFaces, where: str) -> None:
    for split in SPLITS:
        codes = faces.labels[faces.splits == split]
        if len(codes) == 0:
            raise UserError(
                f"{where}: split '{split}' is empty; train, val and test are needed "
                "(val is made from train where only train and test are there)"
            )
        for code, name in enumerate(faces.classes):
            if code not in codes:
                raise UserError(
                    f"{where}: class '{name}' has no faces in '{split}'; "
                    "add some, or leave the class out with --classes"
                )


def _write(
    workspace: Workspace,
    faces: LabelledFaces,
    twin_groups: np.ndarray,
    dataset: dict[str, Any],
) -> None:
    """Write everything into a folder beside, then move it into place.

    dataset.json goes first and comes last, so that it never describes faces that are not its own.
    """
    vote_columns = [] if faces.votes is None else [f"votes_{answer}" for answer in ANSWERS]
    with alone([workspace.dataset_json]), contextlib.ExitStack() as stack:
        for left_by_a_kill in workspace.root.glob(f"{_BESIDE}*"):
            shutil.rmtree(left_by_a_kill)
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=workspace.root, prefix=_BESIDE))
        beside = Workspace(folder)
        for split in SPLITS:
            rows = np.flatnonzero(faces.splits == split)
            write_npy(beside.faces(split), faces.images[rows])
            columns = ["row", "id", "label", "source", "twin_group", *vote_columns]
            write_csv(beside.faces_csv(split), columns, _table(faces, twin_groups, rows))
            if faces.truth:
                write_npz(beside.truth(split), **{name: values[rows] for name, values in faces.truth.items()})
        workspace.dataset_json.unlink(missing_ok=True)
        (workspace.root / "faces").mkdir(exist_ok=True)
        for split in SPLITS:
            workspace.truth(split).unlink(missing_ok=True)
            for place in (Workspace.faces, Workspace.faces_csv, Workspace.truth):
                if faces.truth or place is not Workspace.truth:
                    place(beside, split).replace(place(workspace, split))
        write_json(workspace.dataset_json, dataset)
    log.info("faces written to %s", workspace.root)


def _table(faces: LabelledFaces, twin_groups: np.ndarray, rows: np.ndarray) -> Iterator[list[Any]]:
    for number, row in enumerate(rows.tolist()):
        group = int(twin_groups[row])
        yield [
            number,
            faces.ids[row],
            int(faces.labels[row]),
            faces.sources[row],
            "" if group < 0 else group,
            *([] if faces.votes is None else faces.votes[row].tolist()),
        ]
