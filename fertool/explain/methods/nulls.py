"""The null explanations: maps that know nothing of the model, or nothing of the face.

Every score is compared with these (Adebayo et al. 2018, 'Sanity Checks for Saliency Maps', compares with
edge detectors and with models that know nothing). They look at no class. Maps are float32 (B, h, w); only
`swapped`, whose maps are an explainer's own, may be negative.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Maps = np.ndarray

CENTRE_SPREAD = 0.25  # standard deviation of the centred Gaussian, in sides of the picture
LUMA_CODE = cv2.COLOR_RGB2GRAY


@dataclass(frozen=True)
class Null:
    """A null explanation.

    Args:
        name: name on the command line.
        what: description in tables.
        make: function of faces (B, H, W[, 3]), their rows in the split (B,), and an explainer's maps (N, h, w) of the
            whole split, whose grid is taken over; it returns maps (B, h, w).
        revision: raised when the same inputs would give other maps.
    """

    name: str
    what: str
    make: Callable[[np.ndarray, np.ndarray, Maps], Maps]
    revision: int = 1


def uniform(_faces: np.ndarray, rows: np.ndarray, maps: Maps) -> Maps:
    """The same heat everywhere, on the explainer's grid: each region gets its area."""
    return np.ones((len(rows), *maps.shape[1:]), dtype=np.float32)


def random(_faces: np.ndarray, rows: np.ndarray, maps: Maps) -> Maps:
    """Independent uniform random numbers on the explainer's grid, by the face's row in its split."""
    shape = maps.shape[1:]
    return np.stack([np.random.default_rng(row).random(shape, dtype=np.float32) for row in rows.tolist()])


def edges(faces: np.ndarray, _rows: np.ndarray, _maps: Maps) -> Maps:
    """The size of the brightness gradient (Sobel, 3x3) at the faces' own resolution."""
    return np.stack([_gradient_size(face) for face in faces])


def _gradient_size(face: np.ndarray) -> np.ndarray:
    grey = (cv2.cvtColor(face, LUMA_CODE) if face.ndim == 3 else face).astype(np.float32)
    return np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))


def centre(faces: np.ndarray, rows: np.ndarray, _maps: Maps) -> Maps:
    """A Gaussian around the middle of the picture, a quarter of its side wide, at the faces' resolution."""
    down, across = (
        np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) / CENTRE_SPREAD) ** 2)
        for side in faces.shape[1:3]
    )
    return np.broadcast_to(np.outer(down, across).astype(np.float32), (len(rows), *faces.shape[1:3]))


def swapped(_faces: np.ndarray, rows: np.ndarray, maps: Maps) -> Maps:
    """The explainer's own map of another face: the next one along a fixed random circle of the split.

    A share that remains is common to the model's maps of all faces. Maps are signed, as the explainer's are.
    """
    return np.asarray(maps)[_following(len(maps))[rows]]


@lru_cache(maxsize=2)
def _following(faces: int) -> np.ndarray:
    """The row that follows each on the circle, int64 (N,): drawn once, for maps are made a few rows at a time."""
    circle = np.random.default_rng(0).permutation(faces)
    following = np.empty_like(circle)
    following[circle] = np.roll(circle, -1)
    following.flags.writeable = False
    return following


NULLS = {
    null.name: null
    for null in [
        Null("uniform", "the same heat everywhere", uniform),
        Null("random", "random on the explainer's grid", random),
        Null("edges", "edges of the picture", edges),
        Null("centre", "a Gaussian in the middle", centre),
        Null("swapped", "the model's map of another face", swapped),
    ]
}
