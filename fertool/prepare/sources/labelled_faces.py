"""What every source is read into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fertool.prepare.emotions import choose_classes

UNTOLD = ""
"""The split of a face whose source does not say."""

CHALLENGE_ROWS = 35_887
CHALLENGE_SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""The challenge's Usage -> split."""


def challenge_id(usage: str, row: int) -> str:
    """The id of a FER2013 face: what its file is called in the folder form, as `PublicTest_28709`.

    `row` is where it stands in the challenge's csv, counted from 0. (The image names of FER+ will not do:
    they skip faces, and so part from the rows.)
    """
    return f"{usage}_{row}"


@dataclass(frozen=True)
class LabelledFaces:
    """N faces in their final size, in the order in which they stand within their splits.

    `images` is uint8 (N, H, W) or (N, H, W, 3) in RGB; `labels` int64 (N,), codes into `classes`; `splits`,
    `ids` and `sources` str (N,); `challenge_rows` int64 (N,), where each face stands in the FER2013
    challenge's file, counted from 0, or None; `truth` holds arrays of N rows, known for synthetic faces only;
    `votes` the crowd's votes, int64 (N, 10), or None; `left_out` counts the faces of classes not kept.
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
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "LabelledFaces":
        """The faces of `rows`, a mask or indices."""
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
        )

    def with_classes(self, wanted: Sequence[str] | None, where: str) -> "LabelledFaces":
        """The faces of the wanted classes, their labels recoded; the others are counted as left out."""
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
