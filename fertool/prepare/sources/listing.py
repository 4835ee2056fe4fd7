"""A listing: the faces of a source, each with its picture, label, split, person and box. Every form becomes one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fertool.prepare.sources.boxes import Box
from fertool.prepare.sources.labelled_faces import UNTOLD
from fertool.prepare.sources.read_pictures import PictureStore


@dataclass(frozen=True, slots=True)
class Listed:
    """One face.

    Args:
        picture: the name of its picture in the store.
        label: its label as the source writes it: a code or a name.
        split: train, val or test, UNTOLD where the source does not tell.
        person: whose face it is, empty where the source does not tell.
        box: where the face is in the picture. Default: the whole picture.
        where: how messages name it: a file, and the row where it is a list's. Default: the picture.
        id: its id. Default: the picture's name.
        columns: its values of the listing's columns.
    """

    picture: str
    label: str
    split: str = UNTOLD
    person: str = ""
    box: Box | None = None
    where: str = ""
    id: str = ""
    columns: tuple[str, ...] = ()

    def placed(self, picture: str) -> "Listed":
        """The face in a picture of this name."""
        return replace(self, picture=picture)


@dataclass(frozen=True)
class Listing:
    """The faces of a source, in their order.

    Args:
        name: the name of the data set.
        kind: the form in which it was recognised, in words.
        store: the pictures.
        faces: the faces.
        codes: label -> class, where the source's labels are codes. Default: labels are the names of classes.
        columns: the names of the further columns.
        empty_classes: classes that the source has and that hold no face.
        challenge_rows: int64 (N,), the row of each face in the FER2013 challenge's csv, or None.
        votes: the crowd's votes, int64 (N, 10), or None.
        whole_scenes: whether pictures show more than a face.
        is_table: whether it was read from a table, whose columns the user can name.
        notes: remarks for the user.
    """

    name: str
    kind: str
    store: PictureStore
    faces: Sequence[Listed]
    codes: Mapping[str, str] | None = None
    columns: tuple[str, ...] = ()
    empty_classes: Sequence[str] = ()
    challenge_rows: np.ndarray | None = None
    votes: np.ndarray | None = None
    whole_scenes: bool = False
    is_table: bool = False
    notes: tuple[str, ...] = field(default=())
