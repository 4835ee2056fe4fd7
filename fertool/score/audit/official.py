"""The official splits of FER2013, told by how many faces of each class they have."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fertool.prepare.emotions import EMOTIONS

COUNTS = {
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
"""Faces of each of EMOTIONS in each split of the challenge."""

SPLIT_OF = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
NEAR = 0.1  # share of faces that may be too many or too few for a split to be called near


@dataclass(frozen=True)
class Match:
    """The official splits that class counts belong to.

    `usages` are names of the challenge's splits, together, empty where the counts are no official ones; then
    `nearest` are those of the nearest and `apart` is the number of faces too many or too few, summed over classes.
    `order` are the emotions of the rows, where their names are missing or others.
    """

    usages: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    apart: int = 0
    order: tuple[str, ...] | None = None


def match_counts(counts: np.ndarray, classes: Sequence[str] | None) -> Match:
    """The official splits, or several together, that class counts int64 (C,) belong to.

    Args:
        counts: faces of each class.
        classes: names of the classes; None: not known, and found out where the counts are official ones.
    """
    official = {usages: np.sum([COUNTS[name] for name in usages], axis=0) for usages in _unions()}
    by_class = None if classes is None else _by_emotion(counts, classes)
    if by_class is not None:
        for usages, wanted in official.items():
            if np.array_equal(by_class, wanted):
                return Match(usages)
    for usages, wanted in official.items():
        if np.array_equal(np.sort(counts[counts > 0]), np.sort(wanted)):
            return Match(usages, order=_order(counts, wanted))
    apart = {usages: _apart(counts, by_class, wanted) for usages, wanted in official.items()}
    nearest = min(apart, key=lambda usages: apart[usages])
    if apart[nearest] <= NEAR * counts.sum():
        return Match(nearest=nearest, apart=apart[nearest])
    return Match()


def _unions() -> list[tuple[str, ...]]:
    return [usages for size in (1, 2, 3) for usages in itertools.combinations(COUNTS, size)]


def _by_emotion(counts: np.ndarray, classes: Sequence[str]) -> np.ndarray | None:
    """The counts in the order of EMOTIONS; None where faces are of other classes."""
    found = dict(zip(classes, counts.tolist(), strict=True))
    if any(count for name, count in found.items() if name not in EMOTIONS):
        return None
    return np.array([found.get(name, 0) for name in EMOTIONS])


def _order(counts: np.ndarray, wanted: np.ndarray) -> tuple[str, ...]:
    """The emotion of each row: no two counts of an official split are alike."""
    emotion = dict(zip(wanted.tolist(), EMOTIONS, strict=True))
    return tuple(emotion.get(count, "-") for count in counts.tolist())


def _apart(counts: np.ndarray, by_class: np.ndarray | None, wanted: np.ndarray) -> int:
    if by_class is None:  # the least that it can be, whatever the order
        counts, wanted = np.sort(counts)[::-1], np.sort(wanted)[::-1]
        longest = max(len(counts), len(wanted))
        by_class, wanted = (np.pad(each, (0, longest - len(each))) for each in (counts, wanted))
    return int(np.abs(by_class - wanted).sum())
