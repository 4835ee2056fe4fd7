"""Detectors made for large photographs at work on small, tightly cropped faces."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fertool.masks.landmarks import face_boxes, interocular_distance

# The codes in masks/<split>.npz.
DETECTORS = ("template", "mediapipe", "dlib", "drawn")
TEMPLATE, MEDIAPIPE, DLIB, SYNTHETIC = range(len(DETECTORS))

LEAST_SIDE = 192  # smaller faces are enlarged to this many pixels, border not counted

# Detectors find faces in ears, open mouths and the lenses of glasses. A set of expressions holds crops around
# a face: a find smaller than these shares of the picture's shorter side, or mostly outside it, is not the face.
LEAST_FACE = 3 / 8
LEAST_INTEROCULAR = 1 / 16
LEAST_INSIDE = 0.6


@dataclass(frozen=True)
class Detection:
    """Landmarks float32 (68, 2), in pixels, and the detector's own score, nan where it gives none."""

    landmarks: np.ndarray
    confidence: float


Detector = Callable[[np.ndarray], Iterable[Detection]]
"""From a picture, uint8 RGB (h, w, 3), to the faces that the detector sees in it, the one to prefer first."""


def detect(face: np.ndarray, detector: Detector, paddings: Sequence[float]) -> Detection | None:
    """The face in `face`, uint8 (H, W) or (H, W, 3), in its pixels; None where the detector finds none.

    The face is enlarged and framed by repeating its border; `paddings` are the frames to try, in shares of the face's
    longer side. The first find that can be the face (`is_plausible`) is taken.
    """
    for padding in paddings:
        picture, scale, border_px = enlarge(face, padding)
        for seen in detector(picture):
            landmarks = (seen.landmarks / scale - border_px).astype(np.float32)
            if is_plausible(landmarks, face.shape[:2]):
                return Detection(landmarks, seen.confidence)
    return None


def enlarge(face: np.ndarray, padding: float) -> tuple[np.ndarray, float, int]:
    """The picture that a detector sees, uint8 RGB, with its scale and its border in pixels of the face.

    A point p of the face lies at (p + border) * scale in the picture.
    """
    side = max(face.shape[:2])
    border_px = round(padding * side)
    scale = max(1.0, LEAST_SIDE / side)
    framed = cv2.copyMakeBorder(face, border_px, border_px, border_px, border_px, cv2.BORDER_REPLICATE)
    size = (round(framed.shape[1] * scale), round(framed.shape[0] * scale))
    if scale > 1:
        framed = cv2.resize(framed, size, interpolation=cv2.INTER_CUBIC)
    return (cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB) if framed.ndim == 2 else framed), scale, border_px


def is_plausible(landmarks: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether landmarks (68, 2) can be the face that a picture of `shape` (H, W) was cropped around."""
    side = min(shape)
    return bool(
        np.isfinite(landmarks).all()
        and face_size(landmarks) >= LEAST_FACE * side
        and interocular_distance(landmarks) >= LEAST_INTEROCULAR * side
        and mostly_inside(landmarks, shape)
    )


def mostly_inside(landmarks: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether enough of the landmarks (68, 2) of a face lie in a picture of `shape` (H, W)."""
    inside = ((landmarks >= 0) & (landmarks <= [shape[1], shape[0]])).all(axis=1)
    return bool(inside.mean() >= LEAST_INSIDE)


def face_size(landmarks: np.ndarray) -> float:
    """The longer side of the box around landmarks (68, 2)."""
    x0, y0, x1, y1 = face_boxes(landmarks)
    return float(max(x1 - x0, y1 - y0))
