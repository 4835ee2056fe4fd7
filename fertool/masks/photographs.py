"""Faces in photographs: found by the landmark detectors, framed as training faces are, cut out."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fertool.masks.detectors.dlib import DLIB_PADDINGS, dlib_detector, dlib_version
from fertool.masks.detectors.mediapipe import MEDIAPIPE_PADDINGS, mediapipe_photograph_detector
from fertool.masks.detectors.mediapipe_model import find_mediapipe_model
from fertool.masks.detectors.small_faces import (
    DETECTORS,
    DLIB,
    MEDIAPIPE,
    Detector,
    enlarge,
    face_size,
    mostly_inside,
)
from fertool.masks.detectors.template import mean_face
from fertool.masks.landmarks import face_boxes

# MediaPipe's own default for the whole photograph; in its many windows it must be surer, or a round lamp here
# and there becomes a face.
WHOLE_CONFIDENCE = 0.5
WINDOW_CONFIDENCE = 0.7
MOST_FACES = 50  # in the photograph, and in any window of it

NEAR_PADDINGS = (0.0, MEDIAPIPE_PADDINGS[0])

# MediaPipe overlooks faces below about an eighth of what it is shown. After the whole photograph it is shown
# windows of a half, a quarter, an eighth and a sixteenth of the longer side, each a third over its neighbours:
# a face too small for one size lies whole in a window of the next. Below these numbers of pixels there is no
# expression to be seen.
WINDOW_LEVELS = 4
WINDOW_STEP = 2 / 3
LEAST_WINDOW_PX = 160
LEAST_FACE_PX = 20

SAME_FACE = 0.5  # of two boxes that share this much of the smaller one, the second is no other face


@dataclass(frozen=True)
class Framing:
    """The framing of training faces, in shares of the picture's side.

    `size` is the longer side of the box around a face's landmarks; `centre_y` is the height of the box's centre, from
    the top. Horizontally the box lies in the middle.
    """

    size: float
    centre_y: float


@dataclass(frozen=True)
class Crop:
    """A face cut out of a photograph.

    Args:
        box: x0, y0, x1, y1 in the photograph, square; it may reach over the edge.
        face: uint8 (H, W) or RGB (H, W, 3), as the data set's faces.
        landmarks: float32 (68, 2), in pixels of `face`.
    """

    box: tuple[int, int, int, int]
    face: np.ndarray
    landmarks: np.ndarray


def framing_of(landmarks: np.ndarray, shape: tuple[int, int]) -> Framing:
    """The framing of faces in pictures of `shape` (H, W): the median over their landmarks (N, 68, 2)."""
    height, width = shape
    boxes = face_boxes(landmarks)
    return Framing(
        size=float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)) / max(height, width)),
        centre_y=float(np.median((boxes[:, 1] + boxes[:, 3]) / 2) / height),
    )


def usual_framing() -> Framing:
    """FER2013's framing: that of the mean of MediaPipe's landmarks on its training faces (`mean_face`).

    The box is 0.77 of the side wide, its centre at 0.62 of the height: it leaves the hair's edge above and nothing
    below the chin.
    """
    return framing_of(mean_face((100, 100))[None], (100, 100))


@dataclass(frozen=True)
class PhotographDetectors:
    """The detectors that look for faces: MediaPipe, and dlib, if it is there, where MediaPipe finds none."""

    mediapipe_model: Path
    dlib: bool


def available_detectors() -> PhotographDetectors:
    """MediaPipe, and dlib where it is installed. Raises UserError where MediaPipe's model is missing."""
    return PhotographDetectors(find_mediapipe_model(), dlib=dlib_version() is not None)


def find_faces(detectors: PhotographDetectors, photograph: np.ndarray) -> tuple[np.ndarray, str | None]:
    """All faces of a photograph, uint8 RGB (H, W, 3), found by MediaPipe; by dlib where MediaPipe finds none.

    Returns landmarks float32 (n, 68, 2) in the photograph's pixels, in reading order, and the detector's
    name, None where n is 0.
    """
    faces, code = _search(photograph, detectors.mediapipe_model), MEDIAPIPE
    if not faces and detectors.dlib:
        faces, code = _look_at_whole(photograph, _dlib(), DLIB_PADDINGS), DLIB
    if not faces:
        return np.zeros((0, 68, 2), np.float32), None
    landmarks = np.stack(faces)
    return landmarks[_reading_order(face_boxes(landmarks))], DETECTORS[code]


def find_near_faces(detectors: PhotographDetectors, picture: np.ndarray) -> np.ndarray:
    """The faces of a picture that was taken of them, uint8 RGB (H, W, 3): landmarks float32 (n, 68, 2), largest first.

    Faces above an eighth of the picture are looked for first, smaller ones only where there are none: that takes a
    tenth of the time of `find_faces`.
    """
    near = _look_at_whole(picture, _mediapipe(detectors.mediapipe_model, WHOLE_CONFIDENCE), NEAR_PADDINGS)
    landmarks = np.stack(near) if near else find_faces(detectors, picture)[0]
    boxes = face_boxes(landmarks)
    return landmarks[np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")]


@functools.cache
def _mediapipe(model: Path, confidence: float) -> Detector:
    return mediapipe_photograph_detector(model, confidence, MOST_FACES)


@functools.cache
def _dlib() -> Detector:
    return dlib_detector()


def _search(photograph: np.ndarray, model: Path) -> list[np.ndarray]:
    """Faces in the whole photograph, and in ever smaller windows of it."""
    # a frame helps where a face fills the photograph
    faces = _look_at_whole(photograph, _mediapipe(model, WHOLE_CONFIDENCE), NEAR_PADDINGS)
    for window in _windows(*photograph.shape[:2]):
        _add_new(faces, _in_window(photograph, window, _mediapipe(model, WINDOW_CONFIDENCE), 0.0))
    return faces


def _look_at_whole(photograph: np.ndarray, detector: Detector, paddings: Sequence[float]) -> list[np.ndarray]:
    """Faces in the photograph with each of these frames, in shares of its longer side."""
    window = (0, 0, photograph.shape[1], photograph.shape[0])
    faces: list[np.ndarray] = []
    for padding in paddings:
        _add_new(faces, _in_window(photograph, window, detector, padding))
    return faces


def _windows(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows x0, y0, x1, y1 that cover a photograph, the largest first."""
    for level in range(1, WINDOW_LEVELS + 1):
        side = max(height, width) // 2**level
        if side < LEAST_WINDOW_PX:
            return
        across, down = min(side, width), min(side, height)
        for y in _starts(height, down):
            for x in _starts(width, across):
                yield x, y, x + across, y + down


def _starts(length: int, window: int) -> list[int]:
    count = 1 + math.ceil((length - window) / (WINDOW_STEP * window))
    return np.linspace(0, length - window, count).round().astype(int).tolist()


def _in_window(
    photograph: np.ndarray, window: tuple[int, int, int, int], detector: Detector, padding: float
) -> Iterator[np.ndarray]:
    """Landmarks, in the photograph's pixels, of the faces that lie whole in one window of it."""
    x0, y0, x1, y1 = window
    height, width = photograph.shape[:2]
    # a face may be cut by the photograph's edge, not by a window's
    least = np.array([x0 if x0 > 0 else -np.inf, y0 if y0 > 0 else -np.inf])
    most = np.array([x1 if x1 < width else np.inf, y1 if y1 < height else np.inf])
    picture, scale, border_px = enlarge(photograph[y0:y1, x0:x1], padding)
    for seen in detector(picture):
        landmarks = (seen.landmarks / scale - border_px + [x0, y0]).astype(np.float32)
        if (
            np.isfinite(landmarks).all()
            and face_size(landmarks) >= LEAST_FACE_PX
            and mostly_inside(landmarks, (height, width))
            and ((landmarks >= least) & (landmarks <= most)).all()
        ):
            yield landmarks


def _add_new(faces: list[np.ndarray], seen: Iterator[np.ndarray]) -> None:
    """Add the faces that are not there already."""
    for face in seen:
        if not any(_overlap(face_boxes(face), face_boxes(known)) > SAME_FACE for known in faces):
            faces.append(face)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two boxes have in common, as a share of the smaller box."""
    shared = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(min=0).prod()
    return float(shared / min((box[2:] - box[:2]).prod() for box in (one, other)))


def _reading_order(boxes: np.ndarray) -> list[int]:
    """The order in which boxes (n, 4) are numbered: rows of faces from the top, each from the left."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    waiting = np.argsort(centres[:, 1], kind="stable").tolist()
    order: list[int] = []
    while waiting:
        bottom = boxes[waiting[0], 3]
        row = [face for face in waiting if centres[face, 1] <= bottom]
        order += sorted(row, key=lambda face: centres[face, 0])
        waiting = [face for face in waiting if face not in row]
    return order


def crop_face(
    photograph: np.ndarray, landmarks: np.ndarray, framing: Framing, image_shape: tuple[int, ...]
) -> Crop:
    """Cut the face with these landmarks (68, 2) out of a photograph, uint8 RGB (H, W, 3).

    The crop is a square in which the face has the size and place that `framing` says; beyond the photograph
    its edge is repeated. It is brought to `image_shape`, (H, W) for grey or (H, W, 3), by area when it
    shrinks and by bicubic interpolation when it grows.
    """
    left, top, side = framed_square(landmarks, framing)
    height, width = image_shape[:2]
    face = cv2.resize(
        _cut(photograph, left, top, side),
        (width, height),
        interpolation=cv2.INTER_AREA if side > max(height, width) else cv2.INTER_CUBIC,
    )
    if len(image_shape) == 2:
        face = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    scaled = (landmarks - [left, top]) * [width / side, height / side]
    return Crop((left, top, left + side, top + side), face, scaled.astype(np.float32))


def framed_square(landmarks: np.ndarray, framing: Framing) -> tuple[int, int, int]:
    """The left and top edge and the side, in pixels, of the square in which a face (68, 2) has its framing."""
    x0, y0, x1, y1 = face_boxes(landmarks)
    side = max(round(float(max(x1 - x0, y1 - y0)) / framing.size), 1)
    left = round(float(x0 + x1) / 2 - side / 2)
    return left, round(float(y0 + y1) / 2 - side * framing.centre_y), side


def _cut(photograph: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    height, width = photograph.shape[:2]
    beyond = max(-left, -top, left + side - width, top + side - height, 0)
    if beyond:
        photograph = cv2.copyMakeBorder(photograph, beyond, beyond, beyond, beyond, cv2.BORDER_REPLICATE)
    return photograph[top + beyond : top + beyond + side, left + beyond : left + beyond + side]
