"""A source and settings -> labelled faces in their splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import EIGHT, EMOTIONS
from fertool.prepare.ferplus import ANSWERS, CrowdVotes, crowd_labels
from fertool.prepare.near_twins import NearPairs, find_near_pairs, same_picture
from fertool.prepare.read_source import read_source
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.labelled_faces import UNTOLD, LabelledFaces
from fertool.prepare.sources.open_source import open_source
from fertool.prepare.splits import FOLD, with_splits
from fertool.prepare.synthetic.source import BACKGROUND, SYNTHETIC, draw, marked
from fertool.prepare.twins import NEAR, leaks, number_groups, number_twins
from fertool.prepare.write_faces import COLUMNS, PERSON, own_columns
from fertool.workspace import SPLITS


@dataclass(frozen=True)
class MadeFaces:
    """Faces, and how they came to be.

    `pictures` has numbers that near and identical twins share, int64 (N,), and `near_pairs` the near twins, both None
    for synthetic faces, each of which is a picture of its own; `split_origin` says in words where the splits come from;
    `leaks_dropped` counts the training faces that were left out for a twin in val or test; `crowd_left_out` counts the
    faces without a label of the crowd's by reason, None where the labels are the source's.
    """

    faces: LabelledFaces
    pictures: np.ndarray | None
    near_pairs: NearPairs | None
    split_origin: str
    leaks_dropped: int
    crowd_left_out: dict[str, int] | None


def make_faces(
    source: str | Path, settings: PrepareSettings, crowd: CrowdVotes | None, apart: Path
) -> MadeFaces:
    """Read or draw the faces, choose their classes, split them, and mark them where the settings want marks.

    `apart` is a folder that is no part of the source even where it lies in it. Raises UserError for anything
    wrong with the source, and where a split or a class in a split has no faces.
    """
    where = str(source)
    # FER+ moves faces between classes: its labels come first, then the classes are chosen
    by_crowd = settings.labels_from == "ferplus"
    faces = _read_or_draw(source, settings, None if by_crowd else settings.wanted, apart)
    crowd_left_out = None
    if crowd is not None:
        faces = _with_votes(faces, crowd, where)
    if by_crowd:
        faces, crowd_left_out = _relabelled(faces, EIGHT if settings.eight else EMOTIONS)
        faces = faces.with_classes(settings.wanted, where)
    if len(faces) == 0:
        raise UserError(f"{where}: no face of the classes to keep; correct --classes")
    _refuse_taken_names(faces, where)
    faces, split_origin = _split(faces, settings, where)
    if settings.spurious or settings.evidence == BACKGROUND:
        faces = marked(faces, settings.seed, settings.evidence, settings.spurious)
    _refuse_empty(faces, where)
    pairs = None if source == SYNTHETIC else find_near_pairs(faces.images)
    pictures = None if pairs is None else same_picture(faces.images, pairs)
    kept = np.ones(len(faces), dtype=bool)
    if settings.drop_leaks == NEAR and pictures is not None:
        kept = ~leaks(number_groups(pictures), faces.splits)
    elif settings.drop_leaks:
        kept = ~leaks(number_twins(faces.images), faces.splits)
    pairs = None if pairs is None else pairs.among(np.flatnonzero(kept), faces.images)
    pictures = None if pictures is None else pictures[kept]
    faces = faces.take(kept)
    _refuse_empty(faces, where)
    faces = replace(faces, notes=(*faces.notes, *_columns_note(faces)))
    return MadeFaces(faces, pictures, pairs, split_origin, int((~kept).sum()), crowd_left_out)


def _read_or_draw(
    source: str | Path, settings: PrepareSettings, classes: Sequence[str] | None, apart: Path
) -> LabelledFaces:
    if source == SYNTHETIC:
        faces = draw(settings.count, settings.seed, settings.size, settings.evidence)
        return faces.with_classes(classes, SYNTHETIC)
    with open_source(Path(source), apart) as files:
        return read_source(files, settings, classes)


def _with_votes(faces: LabelledFaces, crowd: CrowdVotes, where: str) -> LabelledFaces:
    if faces.challenge_rows is not None:
        votes = crowd.votes_on(faces.challenge_rows, faces.ids)
    else:
        rows = crowd.rows_of_pictures(faces.sources)
        if rows is None:
            raise UserError(
                f"{where}: nothing tells which rows of FER2013 these faces are, so --ferplus cannot match them; "
                "give the challenge's csv, or pictures named <Usage>_<row> or as FER+ names them"
            )
        votes = crowd.votes[rows]
    crowd.check_agreement(votes, faces.labels, faces.classes)
    return replace(faces, votes=votes)


def _relabelled(faces: LabelledFaces, classes: Sequence[str]) -> tuple[LabelledFaces, dict[str, int]]:
    """The faces with the crowd's labels, and how many have none for which reason and are left out."""
    assert faces.votes is not None
    codes, left_out = crowd_labels(faces.votes, classes)
    return replace(faces, classes=list(classes), labels=codes).take(codes >= 0), left_out


def _split(faces: LabelledFaces, settings: PrepareSettings, where: str) -> tuple[LabelledFaces, str]:
    told = {"val", "test"} & set(faces.splits.tolist())
    # the challenge's rows have all three: a copy without test is cut
    is_told = told == {"val", "test"} or (told == {"val"} and faces.challenge_rows is not None)
    if (faces.splits == UNTOLD).any() or not is_told:
        return with_splits(faces, settings, where)
    for option, value in (("--group-by", settings.group_by), ("--folds", settings.folds)):
        if value is not None:
            raise UserError(f"{option}: {where} comes with splits of its own; leave it out")
    return faces, "the source"


def _refuse_taken_names(faces: LabelledFaces, where: str) -> None:
    """Raise UserError for a column of the source whose name another column of faces/<split>.csv has."""
    taken = (*COLUMNS, PERSON, FOLD, *(f"votes_{answer}" for answer in ANSWERS))
    for name in faces.columns:
        if name in taken:
            raise UserError(
                f"{where}: column '{name}' cannot be kept, for faces/<split>.csv has one of that name; rename it"
            )


def _columns_note(faces: LabelledFaces) -> list[str]:
    """A note on the columns of the source that faces/<split>.csv keeps, none where it keeps none."""
    columns = own_columns(faces)
    counts = [f"{name} ({len(np.unique(values)):,} values)" for name, values in columns.items()]
    return [f"columns kept in faces/<split>.csv: {', '.join(counts)}"] if counts else []


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
