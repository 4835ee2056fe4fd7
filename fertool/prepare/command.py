"""A source of faces -> the faces of a workspace."""

import contextlib
import json
import re
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
from fertool.prepare.sources.archives import SourceFiles, content_hash, open_source
from fertool.prepare.sources.challenge_csv import has_challenge_columns, read_challenge_csv
from fertool.prepare.sources.labelled_faces import UNTOLD, LabelledFaces
from fertool.prepare.sources.picture_folders import is_picture, read_picture_folders
from fertool.prepare.splits import with_splits
from fertool.prepare.synthetic.source import BACKGROUND, EVIDENCE, SYNTHETIC, draw, marked
from fertool.prepare.twins import leaks, number_twins, twin_figures
from fertool.runtime.files import write_csv, write_json, write_npy, write_npz
from fertool.runtime.locks import alone
from fertool.runtime.progress import log
from fertool.summary import Summary
from fertool.workspace import SPLITS, Workspace

# raise them when the same source and settings would give other faces
REVISION = 1
DRAWN_REVISION = 3
LABELS = ("original", "ferplus")
_BESIDE = ".prepare-"
_SIZES = range(16, 1025)


def prepare(
    workspace: Workspace,
    source: str | Path,
    *,
    size: int = 48,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    group_by: str | None = None,
    ferplus: Path | None = None,
    labels: str = "original",
    drop_leaks: bool = False,
    count: int = 4000,
    evidence: str | None = None,
    spurious: float = 0.0,
    force: bool = False,
) -> Summary:
    """Make the faces of `workspace` from `source` and describe them in its dataset.json.

    `source` is the FER2013 challenge's csv, or `[<split>/]<emotion>/<picture>` folders, as they are or in an
    archive, or the word "synthetic", for `count` drawn faces. `size` is the faces' side in pixels. `seed`
    draws the splits that the source does not tell, and the synthetic faces. `classes` names the classes to
    keep instead of those of the seven emotions that the source has. `group_by` is a regular expression:
    pictures in whose file name it finds the same text (its first group, or all of it) stand in one split.
    `ferplus` adds the votes of FER+, and `labels` "ferplus" makes the taggers' most frequent answer the label
    (`crowd_labels` has the rule). `drop_leaks` leaves out of train what has an identical twin in val or test.
    In drawn faces `evidence` names the one region that tells the class, everything else being independent of
    it, and `spurious` puts a mark into the background that agrees with the label with that probability in
    train, and in val and test says nothing.

    Raises UserError, and leaves the workspace as it was, for anything wrong with source or settings, and
    where runs in the workspace were trained on other faces.
    """
    _check_settings(source, size, seed, group_by, ferplus, labels, count, evidence, spurious)
    settings: dict[str, Any] = {
        "size": size,
        "seed": seed,
        "classes": None if classes is None else list(classes),
        "group_by": group_by,
        "labels": labels,
        "drop_leaks": drop_leaks,
    }
    if source == SYNTHETIC:
        settings |= {"count": count, "evidence": evidence, "spurious": spurious}
        inputs = {"source": SYNTHETIC}
    else:
        if not Path(source).exists():
            raise UserError(f"{source}: no such file or folder; check the path")
        inputs = {"source": content_hash(Path(source), apart=workspace.root)}
    crowd = None
    if ferplus is not None:
        crowd = read_ferplus(ferplus)
        inputs["ferplus"] = content_hash(ferplus)
    revision = DRAWN_REVISION if source == SYNTHETIC else REVISION
    made_from = json.loads(json.dumps({"revision": revision, "settings": settings, "inputs": inputs}))
    products = [place(split) for split in SPLITS for place in (workspace.faces, workspace.faces_csv)]
    if not force and workspace.is_current(workspace.dataset_json, made_from, products):
        return dataset_summary(
            workspace.dataset(), ["up to date: made from just this source with these settings"]
        )
    _refuse_under_runs(workspace, made_from)

    where = str(source)
    wanted = None if labels == "ferplus" else classes  # FER+ moves faces between classes: choose after it
    if source == SYNTHETIC:
        faces = draw(count, seed, size, evidence).with_classes(wanted, where)
    else:
        with open_source(Path(source), apart=workspace.root) as files:
            faces = _read(files, size, wanted)
    crowd_left_out = None
    if crowd is not None:
        faces = _with_votes(faces, crowd, where)
        if labels == "ferplus":
            faces, crowd_left_out = _relabelled(faces)
            faces = faces.with_classes(classes, where)
    if len(faces.images) == 0:
        raise UserError(f"{where}: no face of the classes to keep; correct --classes")
    split_origin = "the source"
    if (faces.splits == UNTOLD).any() or "val" not in faces.splits:
        faces, split_origin = with_splits(faces, group_by, seed, where)
    elif group_by is not None:
        raise UserError(f"--group-by: {where} comes with splits of its own; leave it out")
    if spurious or evidence == BACKGROUND:
        faces = marked(faces, seed, evidence, spurious)
    dropped = 0
    if drop_leaks:
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
        "settings": settings,
        "notes": list(faces.notes),
        "made_from": made_from,
    }
    _write(workspace, faces, twin_groups, dataset)
    return dataset_summary(dataset, [])


def _check_settings(
    source: str | Path,
    size: int,
    seed: int,
    group_by: str | None,
    ferplus: Path | None,
    labels: str,
    count: int,
    evidence: str | None,
    spurious: float,
) -> None:
    if size not in _SIZES:
        raise UserError(f"--size {size}: give {_SIZES[0]} to {_SIZES[-1]} pixels")
    if seed < 0:
        raise UserError(f"--seed {seed}: give 0 or more")
    if labels not in LABELS:
        raise UserError(f"--labels {labels}: give one of {', '.join(LABELS)}")
    if labels == "ferplus" and ferplus is None:
        raise UserError("--labels ferplus: needs the votes; give --ferplus fer2013new.csv")
    if group_by is not None:
        try:
            re.compile(group_by)
        except re.error as error:
            raise UserError(f"--group-by '{group_by}': no regular expression ({error})") from error
    if source == SYNTHETIC:
        if count < 1:
            raise UserError(f"--count {count}: draw at least one face")
        if ferplus is not None:
            raise UserError("--ferplus: the votes are on FER2013, not on drawn faces; leave it out")
        if group_by is not None:
            raise UserError("--group-by: drawn faces have no file names; leave it out")
        if evidence is not None and evidence not in EVIDENCE:
            raise UserError(f"--evidence {evidence}: give one of {', '.join(EVIDENCE)}")
        if not 0 <= spurious <= 1:
            raise UserError(f"--spurious {spurious}: give a probability")
        if spurious and evidence == BACKGROUND:
            raise UserError("--spurious: the mark is the evidence already; leave one of the two out")
    elif evidence is not None or spurious:
        raise UserError("--evidence and --spurious: only faces that fertool draws can have them")


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
