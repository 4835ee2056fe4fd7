"""A sample of a split's faces, in which every class has its part: `score --faces`."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FaceSample:
    """Rows of a split, int64 (n,), ascending, that `seed` drew."""

    rows: np.ndarray
    seed: int

    @property
    def record(self) -> dict[str, Any]:
        """The sample as records have it: size and seed."""
        return {"faces": len(self.rows), "seed": self.seed}

    @property
    def name(self) -> str:
        """The sample as names of files have it."""
        return f"faces{len(self.rows)}.seed{self.seed}"


def draw_sample(labels: np.ndarray, faces: int, seed: int) -> FaceSample | None:
    """The sample of a split with these class codes, (N,); None where it would be all faces."""
    rows = stratified_rows(labels, faces, seed)
    return None if rows is None else FaceSample(rows, seed)


def stratified_rows(labels: np.ndarray, faces: int, seed: int) -> np.ndarray | None:
    """The rows of a sample, int64 (faces,), ascending; None where the sample would be all faces.

    Each class has its part of the sample, rounded by the largest remainders, so the sample's mean estimates that of the
    split. The same labels and seed give the same rows, and a smaller sample lies within a larger one as far as rounding
    lets it.

    Args:
        labels: class codes, int64 (N,).
        faces: size of the sample, 1 or more.
        seed: seed of the draw.
    """
    if faces >= len(labels):
        return None
    _, classes = np.unique(labels, return_inverse=True)
    wanted = faces * np.bincount(classes) / len(labels)
    counts = np.floor(wanted).astype(int)
    counts[np.argsort(counts - wanted, kind="stable")[: faces - counts.sum()]] += 1
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    chosen = [shuffled[classes[shuffled] == code][:count] for code, count in enumerate(counts)]
    return np.sort(np.concatenate(chosen))
