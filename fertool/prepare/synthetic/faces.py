"""Synthetic faces: any number, by seed, with everything about them known."""

from dataclasses import dataclass

import numpy as np

from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.synthetic.action_units import FEATURES, intensities
from fertool.prepare.synthetic.geometry import Identity, Pose, face_geometry
from fertool.prepare.synthetic.render import Appearance, draw_picture, draw_region_map
from fertool.runtime.progress import progress_bar

NOWHERE = "nowhere"


@dataclass(frozen=True)
class SyntheticFaces:
    """Synthetic faces and the truth about them.

    images: uint8 (N, size, size), grey.
    labels: int64 (N,), codes in the order of `emotions.EMOTIONS`.
    landmarks: float32 (N, 68, 2), iBUG order, x then y in pixels, a pixel's centre at its index + 0.5. They
        stay where they are when something hides them, and can lie outside the picture.
    region_maps: uint8 (N, size, size), codes 0 background, 1 face contour, 2 eyes, 3 eyebrows, 4 nose,
        5 mouth: those of the face, whatever hides it.
    """

    images: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    region_maps: np.ndarray


def draw_faces(count: int, seed: int, size: int = 48, evidence: str | None = None) -> SyntheticFaces:
    """Draw `count` faces whose geometry follows their emotions' action units (EMFACS).

    Face i depends on `seed` and i only, so fewer faces are the first of more. Every seven faces show the seven
    emotions, in random order. With `evidence`, one of `FEATURES`, only that feature shows the label's emotion, and
    each other one shows an emotion that is independent of the label. With `NOWHERE` every feature does.

    Raises ValueError for a count below 0 or an unknown feature.
    """
    if count < 0 or evidence not in (None, NOWHERE, *FEATURES):
        raise ValueError(f"cannot draw {count} faces with the evidence in {evidence!r}")
    images = np.empty((count, size, size), np.uint8)
    region_maps = np.empty_like(images)
    landmarks = np.empty((count, 68, 2), np.float32)
    labels = _labels(count, seed)
    with progress_bar("drawing faces", count, "faces") as bar:
        for face, label in enumerate(labels):
            rng = np.random.default_rng((seed, _FACE, face))
            identity, pose, look = Identity.random(rng), Pose.random(rng), Appearance.random(rng)
            others = rng.integers(0, len(EMOTIONS), size=len(FEATURES))
            emotions = {
                feature: int(label) if evidence in (None, feature) else int(other)
                for feature, other in zip(FEATURES, others, strict=True)
            }
            geometry = face_geometry(identity, intensities(emotions, rng), pose)
            images[face] = draw_picture(geometry, look, rng, size)
            region_maps[face] = draw_region_map(geometry, size)
            landmarks[face] = geometry.landmarks * size
            bar.update(1)
    return SyntheticFaces(images, labels, landmarks, region_maps)


_LABELS, _FACE = 0, 1  # separate streams of one seed


def _labels(count: int, seed: int) -> np.ndarray:
    """Permutations of the emotions' codes, one after another, int64 (count,)."""
    blocks = range(-(-count // len(EMOTIONS)))
    permutations = [
        np.random.default_rng((seed, _LABELS, block)).permutation(len(EMOTIONS)) for block in blocks
    ]
    return np.concatenate([np.empty(0, np.int64), *permutations])[:count].astype(np.int64)
