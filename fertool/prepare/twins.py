"""Identical twins, faces whose pixels are all the same; and counts of twins, identical or near."""

import hashlib
from dataclasses import dataclass

import numpy as np

NEAR = "near"  # the twins that --drop-leaks leaves out: these too


@dataclass(frozen=True)
class TwinFigures:
    """Counts of twins.

    `groups` of twins and the `images` in them; groups that stand in more than one split (`straddling`) and that carry
    more than one label (`disagreeing`); test images with a twin in train (`test_in_train`).
    """

    groups: int
    images: int
    straddling: int
    disagreeing: int
    test_in_train: int


@dataclass(frozen=True)
class TwinGroups:
    """The twin group of each face, int64 (N,), -1 without a twin.

    `identical` are those of identical twins, `near` those of near and identical ones together; None: not looked for.
    """

    identical: np.ndarray
    near: np.ndarray | None = None


def same_pixels(images: np.ndarray) -> np.ndarray:
    """Numbers that are equal for faces with equal pixels: int64 (N,) for uint8 (N, H, W[, 3])."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    numbers: dict[bytes, int] = {}
    # sorting whole faces takes six times as long, and a data set of a million cannot be interrupted meanwhile
    digests = (hashlib.blake2b(face.data, digest_size=16).digest() for face in flat)
    return np.fromiter((numbers.setdefault(digest, len(numbers)) for digest in digests), np.int64, len(flat))


def number_twins(images: np.ndarray) -> np.ndarray:
    """The twin group of each face, int64 (N,): 0, 1, ... in order of first appearance; -1 without a twin."""
    return number_groups(same_pixels(images))


def number_groups(keys: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, ... for keys (N,) that several faces share, in order of first appearance; -1 for other faces."""
    _, first, key_index, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(count > 1)
    number = np.full(len(count), -1, dtype=np.int64)
    number[shared[np.argsort(first[shared])]] = np.arange(len(shared))
    return number[key_index.reshape(-1)]


def twin_figures(groups: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> TwinFigures:
    """Count twins.

    `groups` (N,) are those of `number_groups`; `labels` (N,) and `splits` (N,) are the faces'.
    """
    twins = groups >= 0
    return TwinFigures(
        groups=len(np.unique(groups[twins])),
        images=int(twins.sum()),
        straddling=_groups_with_several(groups[twins], splits[twins]),
        disagreeing=_groups_with_several(groups[twins], labels[twins]),
        test_in_train=int((twins & (splits == "test") & np.isin(groups, groups[splits == "train"])).sum()),
    )


def leaks(groups: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """The training faces that have a twin in val or test, bool (N,)."""
    return (groups >= 0) & (splits == "train") & np.isin(groups, groups[splits != "train"])


def _groups_with_several(groups: np.ndarray, values: np.ndarray) -> int:
    values = np.unique(values, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([groups, values], axis=1), axis=0)
    return int((np.unique(pairs[:, 0], return_counts=True)[1] > 1).sum())
