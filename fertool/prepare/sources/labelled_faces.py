"""Labelled faces: what every source is read into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fertool.prepare.emotions import choose_classes

UNTOLD = ""
"""The split of a face whose source does not tell it."""

CHALLENGE_NAME = "FER2013"
CHALLENGE_COUNTS = {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
"""The faces of each Usage: a data set is FER2013 where it has all of them."""

CHALLENGE_ROWS = sum(CHALLENGE_COUNTS.values())
CHALLENGE_SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""The split that each Usage of the challenge means."""


def challenge_id(usage: str, row: int) -> str:
    """The id of a FER2013 face: what its file is called in the folder form, as `PublicTest_28709`.

    `row` is its row in the challenge's csv, counted from 0. (The image names of FER+ are no such ids: they skip
    faces, so they part from the rows.)
    """
    return f"{usage}_{row}"


@dataclass(frozen=True)
class LabelledFaces:
    """N faces in their final size, in the order in which they stand within their splits.

    Args:
        name: the name of the data set.
        kind: the form in which it was recognised, in words.
        images: uint8 (N, H, W), or (N, H, W, 3) in RGB.
        classes: the names of the classes.
        labels: int64 (N,), codes into `classes`.
        splits: str (N,), UNTOLD where the source does not tell.
        ids: str (N,).
        sources: str (N,), the file that each face was read from.
        challenge_rows: int64 (N,), the row of each face in the FER2013 challenge's csv, counted from 0, or None.
        truth: arrays of N rows that are known for synthetic faces only, by name.
        votes: the crowd's votes, int64 (N, 10), or None.
        persons: str (N,), whose face each is, or None where the source does not tell.
        columns: further columns about persons and pictures by their names, each str (N,).
        left_out: the number of faces of each class that was not kept.
        notes: further remarks for the user.
    """

    name: str
    kind: str
    images: np.ndarray
    classes: list[str]
    labels: np.ndarray
    splits: np.ndarray
    ids: np.ndarray
    sources: np.ndarray
    challenge_rows: np.ndarray | None = None
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    votes: np.ndarray | None = None
    persons: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "LabelledFaces":
        """The faces of `rows`, a mask (N,) or indices."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            splits=self.splits[rows],
            ids=self.ids[rows],
            sources=self.sources[rows],
            challenge_rows=None if self.challenge_rows is None else self.challenge_rows[rows],
            truth={name: values[rows] for name, values in self.truth.items()},
            votes=None if self.votes is None else self.votes[rows],
            persons=None if self.persons is None else self.persons[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    def with_classes(self, wanted: Sequence[str] | None, where: str) -> "LabelledFaces":
        """The faces of the wanted classes, with new codes for labels; other faces are counted as left out."""
        chosen = choose_classes(self.classes, wanted, where)
        if chosen == self.classes:
            return self
        code = np.array([chosen.index(name) if name in chosen else -1 for name in self.classes])
        labels = code[self.labels]
        left_out = {
            name: int((self.labels == old).sum()) for old, name in enumerate(self.classes) if code[old] < 0
        }
        kept = replace(self, classes=chosen, labels=labels, left_out={**self.left_out, **left_out})
        return kept.take(labels >= 0)
