"""How a detector made for large photographs is put to work on a small, tightly cropped face."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fertool.masks.landmarks import face_boxes, interocular_distance

# The codes in masks/<split>.npz.
DETECTORS = ("template", "mediapipe", "dlib", "drawn")
TEMPLATE, MEDIAPIPE, DLIB, DRAWN = range(len(DETECTORS))

# Borders around the face, as shares of its longer side, in the order in which they are tried.
PADDINGS = (1 / 4, 1 / 2, 1 / 8, 0.0)
LEAST_SIDE = 192  # smaller faces are enlarged to this many pixels, border not counted

# Detectors find faces in ears, open mouths and the lenses of glasses. A set of expressions holds crops around
# a face: what is smaller than these shares of the picture's shorter side, or mostly outside it, is not the
# face.
LEAST_FACE = 3 / 8
LEAST_INTEROCULAR = 1 / 16
LEAST_INSIDE = 0.6


@dataclass(frozen=True)
class Detection:
    """Landmarks float32 (68, 2), in pixels, and the detector's own score (nan where it tells none)."""

    landmarks: np.ndarray
    confidence: float


# From a picture, uint8 RGB (h, w, 3), to all faces that the detector sees in it.
Detector = Callable[[np.ndarray], list[Detection]]


def detect(face: np.ndarray, detector: Detector) -> Detection | None:
    """The face in `face`, uint8 (H, W) or (H, W, 3), in its pixels; None where the detector finds none.

    The face is enlarged, framed by repeating its border, and tried again with other frames until the detector
    finds something that can be the face (`is_plausible`). Of several in a picture, the largest is taken.
    """
    for padding in PADDINGS:
        picture, scale, border_px = enlarge(face, padding)
        found = [
            Detection((faces.landmarks / scale - border_px).astype(np.float32), faces.confidence)
            for faces in detector(picture)
        ]
        found = [faces for faces in found if is_plausible(faces.landmarks, face.shape[:2])]
        if found:
            return max(found, key=lambda faces: _size(faces.landmarks))
    return None


def enlarge(face: np.ndarray, padding: float) -> tuple[np.ndarray, float, int]:
    """The picture that a detector sees, uint8 RGB, with its scale and its border in pixels of the face.

    A point p of the face lies at (p + border) * scale in the picture.
    """
    side = max(face.shape[:2])
    border_px = round(padding * side)
    scale = max(1.0, LEAST_SIDE / side)
    framed = cv2.copyMakeBorder(face, *[border_px] * 4, cv2.BORDER_REPLICATE)
    size = (round(framed.shape[1] * scale), round(framed.shape[0] * scale))
    if scale > 1:
        framed = cv2.resize(framed, size, interpolation=cv2.INTER_CUBIC)
    return (cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB) if framed.ndim == 2 else framed), scale, border_px


def is_plausible(landmarks: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether landmarks (68, 2) can be the face that a picture of `shape` (H, W) was cropped around."""
    side = min(shape)
    inside = ((landmarks >= 0) & (landmarks <= [shape[1], shape[0]])).all(axis=1).mean()
    return bool(
        np.isfinite(landmarks).all()
        and _size(landmarks) >= LEAST_FACE * side
        and interocular_distance(landmarks) >= LEAST_INTEROCULAR * side
        and inside >= LEAST_INSIDE
    )


def _size(landmarks: np.ndarray) -> float:
    x0, y0, x1, y1 = face_boxes(landmarks)
    return float(max(x1 - x0, y1 - y0))
