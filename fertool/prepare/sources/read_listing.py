"""A listing -> labelled faces: labels become classes, pictures are cut and read."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import choose_classes, class_name
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.decode import Cut
from fertool.prepare.sources.labelled_faces import UNTOLD, LabelledFaces
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.read_pictures import Place, read_pictures

FOUND_COLUMN = "faces_found"
"""The column of faces/<split>.csv with the number of faces that each face's picture shows (--crop-faces)."""

_NOT_SEARCHED = (
    "pictures show more than faces, and faces were not looked for: the middle of each is taken; --crop-faces finds "
    "the faces"
)

_MOST_SHOWN = 40  # characters of a label in a message


def read_listing(listing: Listing, settings: PrepareSettings, wanted: Sequence[str] | None) -> LabelledFaces:
    """Read the faces of the classes to keep, grey where all of them are.

    Args:
        listing: the faces.
        settings: size, margin, the map of labels, columns to keep.
        wanted: the classes to keep. Default: those of the seven emotions that there are.

    Returns:
        The faces in the listing's order.

    Raises:
        UserError: for a label that the map does not know, a class without pictures, a person in two splits, a picture
            that is missing or damaged, and a box outside its picture.
    """
    where = str(listing.store.path)
    class_of = _classes_of_labels(listing, settings)
    classes = _choose([class_of[face.label] for face in listing.faces], listing.empty_classes, wanted, where)
    found = Counter(class_of[face.label] for face in listing.faces)
    rows = [row for row, face in enumerate(listing.faces) if class_of[face.label] in classes]
    faces = [listing.faces[row] for row in rows]
    _refuse_person_in_two_splits(faces, listing.is_table)
    places: dict[str, list[Place]] = defaultdict(list)
    for row, face in enumerate(faces):
        places[face.picture].append(Place(row, _cut(face, settings.margin)))
    images, found_counts, notes = _read(listing, places, settings)
    persons = [face.person for face in faces]
    labelled = LabelledFaces(
        name=listing.name,
        kind=listing.kind,
        images=images,
        classes=classes,
        labels=np.array([classes.index(class_of[face.label]) for face in faces], np.int64),
        splits=np.array([face.split for face in faces]),
        ids=np.array([face.id or face.picture for face in faces]),
        sources=np.array([face.picture for face in faces]),
        challenge_rows=None if listing.challenge_rows is None else listing.challenge_rows[rows],
        votes=None if listing.votes is None else listing.votes[rows],
        persons=np.array(persons) if any(persons) else None,
        columns={
            name: np.array([face.columns[number] for face in faces])
            for number, name in enumerate(listing.columns)
        },
        left_out={name: count for name, count in sorted(found.items()) if name not in classes},
        notes=(*listing.notes, *notes),
    )
    if found_counts is None:
        return labelled
    columns = {**labelled.columns, FOUND_COLUMN: found_counts.astype(str)}
    return replace(labelled, columns=columns).take(found_counts > 0)


def _read(
    listing: Listing, places: Mapping[str, Sequence[Place]], settings: PrepareSettings
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """The faces; how many faces each one's picture shows, None where they were not looked for; and notes."""
    if settings.crop_faces:
        from fertool.prepare.sources.crop_faces import find_and_crop  # brings the detectors

        found = find_and_crop(listing.store, places, settings.size, settings.margin)
        return found.images, found.counts, found.notes
    images, notes = read_pictures(listing.store, places, settings.size)
    return images, None, (*notes, _NOT_SEARCHED) if listing.whole_scenes else notes


def _cut(face: Listed, margin: float) -> Cut | None:
    return None if face.box is None else Cut(face.box, margin, face.where or face.picture)


def _classes_of_labels(listing: Listing, settings: PrepareSettings) -> dict[str, str]:
    """The class of each label: by the user's map, else by the source's codes, else the label is the class's name."""
    given = settings.label_classes
    codes = given if given is not None else listing.codes
    firsts: dict[str, Listed] = {}
    for face in listing.faces:
        firsts.setdefault(face.label, face)
    if codes is None:
        return {label: class_name(label) for label in firsts}
    return {label: _class_by_code(label, face, codes, given is not None) for label, face in firsts.items()}


def _class_by_code(label: str, face: Listed, codes: Mapping[str, str], is_users: bool) -> str:
    if label in codes:
        return codes[label]
    known = ", ".join(f"{code} {name}" for code, name in codes.items())
    advice = "add it to --label-map" if is_users else "correct it, or give --label-map"
    raise UserError(
        f"{face.where or face.picture}: label '{label[:_MOST_SHOWN]}' is none of the codes ({known}); {advice}"
    )


def _choose(
    found: Sequence[str], empty: Sequence[str], wanted: Sequence[str] | None, where: str
) -> list[str]:
    classes = choose_classes([*dict.fromkeys(found), *empty], wanted, where)
    for name in classes:
        if name in empty:
            raise UserError(
                f"{where}: the folder of class '{name}' has no pictures; "
                "fill it, or leave the class out with --classes"
            )
    return classes


def _refuse_person_in_two_splits(faces: Sequence[Listed], is_table: bool) -> None:
    if is_table:
        advice = "keep each person in one split, or leave the column of persons or of splits out"
    else:
        advice = "keep each person in one split, or take the pictures out of the splits' folders"
    firsts: dict[str, Listed] = {}
    for face in faces:
        if not face.person or face.split == UNTOLD:
            continue
        first = firsts.setdefault(face.person, face)
        if first.split != face.split:
            raise UserError(
                f"{face.where or face.picture}: person '{face.person[:_MOST_SHOWN]}' is in {face.split}, and in "
                f"{first.split} before ({first.where or first.picture}); {advice}"
            )
