"""MediaPipe's Face Landmarker (Tasks API), and its 478 points brought to the 68 of iBUG."""

import atexit
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fertool.errors import UserError
from fertool.masks.detectors.small_faces import Detection, Detector, face_size

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision import FaceLandmarker

# Borders to try, as shares of the face's longer side: on 4,000 faces of FER2013 the first finds 92% (without
# a border 90%), the second 1.6% more; 1/8 and no border would find another 1.5% and take a tenth more time.
MEDIAPIPE_PADDINGS = (1 / 4, 1 / 2)
MOST_FACES = 3

# Each of the 68 points is the mean of one or two of MediaPipe's. Anatomy gave the candidates; among
# them those that lie closest to dlib's points were taken (median distance over the 1,483 near-frontal of
# 4,000 faces of FER2013 that both found, either side of the face with its mirror image). On all 3,040 faces that
# both found the 68 points are 0.046 inter-ocular distances from dlib's (median face): jaw 0.085, where
# neither sees an edge; eyebrows 0.039, nose 0.030, mouth 0.032, eyes 0.023.
# fmt: off
MEDIAPIPE_TO_68: tuple[tuple[int, ...], ...] = (
    # jaw, from the right ear over the chin to the left
    (127,), (93, 227), (132,), (58,), (172,), (136, 150), (149,), (148,), (152,),
    (377,), (378,), (365, 379), (397,), (288,), (361,), (323, 447), (356,),
    # right eyebrow from outside in, left eyebrow from inside out
    (70, 156), (63,), (66, 105), (66, 107), (55, 107),
    (285, 336), (296, 336), (296, 334), (293,), (300, 383),
    # bridge of the nose downwards; nostrils from right to left
    (168,), (6, 197), (5, 195), (4,),
    (240,), (97,), (2,), (326,), (460,),
    # right eye: outer corner, upper lid, inner corner, lower lid; left eye: from the inner corner
    (33,), (160,), (158,), (133,), (153,), (144,),
    (362,), (385,), (387,), (263,), (373,), (380,),
    # outer lips clockwise from the right corner, inner lips likewise
    (61,), (39, 40), (37,), (0,), (267,), (269, 270), (291,), (321, 405), (314,), (17,), (84,), (91, 181),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)
# fmt: on
_FIRST = np.array([indices[0] for indices in MEDIAPIPE_TO_68])
_SECOND = np.array([indices[-1] for indices in MEDIAPIPE_TO_68])


def to_68(points: np.ndarray) -> np.ndarray:
    """MediaPipe's points (..., 478, 2), or (..., 468, 2), as the 68 of iBUG (..., 68, 2)."""
    return (points[..., _FIRST, :] + points[..., _SECOND, :]) / 2


def mediapipe_detector(model: Path, confidence: float) -> Detector:
    """The detector with the bundle `model`; it gives no score; `confidence` (0..1) is the least that it accepts.

    It gives the face that MediaPipe is surest of, then, if that one is not wanted, up to three by size: to look
    for several from the start takes a tenth more time and hardly ever changes the choice. Raises UserError
    where MediaPipe does not start or cannot read the bundle.
    """
    surest = _landmarker(model, confidence, 1)
    several = _landmarker(model, confidence, MOST_FACES)

    def find(picture: np.ndarray) -> Iterator[Detection]:
        for landmarker in (surest, several):
            faces = _seen_by(landmarker, picture)
            if not faces:
                return
            yield from faces

    return find


def mediapipe_photograph_detector(model: Path, confidence: float, most_faces: int) -> Detector:
    """The detector that gives every face of a picture, up to `most_faces`, the largest first.

    It is made for near faces: those below about an eighth of the picture's longer side it overlooks. Raises
    UserError as `mediapipe_detector` does.
    """
    landmarker = _landmarker(model, confidence, most_faces)
    return lambda picture: _seen_by(landmarker, picture)


def _seen_by(landmarker: "FaceLandmarker", picture: np.ndarray) -> list[Detection]:
    """The faces in a picture, uint8 RGB (h, w, 3), the largest first."""
    import mediapipe as mp

    size = np.array([picture.shape[1], picture.shape[0]], np.float32)
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
    faces = [
        to_68(np.array([(point.x, point.y) for point in face], np.float32) * size)
        for face in landmarker.detect(image).face_landmarks
    ]
    return [Detection(face, float("nan")) for face in sorted(faces, key=face_size, reverse=True)]


def _landmarker(model: Path, confidence: float, most_faces: int) -> "FaceLandmarker":
    try:
        from mediapipe.tasks.python import BaseOptions, vision

        landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(model)),
                num_faces=most_faces,
                min_face_detection_confidence=confidence,
                min_face_presence_confidence=confidence,
            )
        )
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{model}: MediaPipe does not start with this model ({reason})") from None
    # at the interpreter's end it would close itself through threads that are gone, and complain; the process is
    # all that it holds then
    atexit.register(setattr, landmarker, "_handle", None)
    return landmarker
