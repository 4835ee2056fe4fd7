"""The landmarks of faces, by the first detector that finds each, and their regions."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fertool.masks.detectors.dlib import DLIB_PADDINGS, dlib_detector
from fertool.masks.detectors.mediapipe import MEDIAPIPE_PADDINGS, mediapipe_detector
from fertool.masks.detectors.small_faces import DETECTORS, DLIB, MEDIAPIPE, TEMPLATE, Detector, detect
from fertool.masks.detectors.template import mean_face
from fertool.masks.regions import region_maps

BATCH_FACES = 32  # handed to a worker at a time
PADDINGS = {MEDIAPIPE: MEDIAPIPE_PADDINGS, DLIB: DLIB_PADDINGS}


@dataclass(frozen=True)
class Detectors:
    """The detectors that are tried on a face.

    `order` holds their codes; `confidence` (0..1) is the least that MediaPipe accepts; `mediapipe_model` is the file
    of its model, None where MediaPipe is not tried.
    """

    order: tuple[int, ...]
    confidence: float
    mediapipe_model: Path | None


@functools.cache
def running_detector(code: int, settings: Detectors) -> Detector:
    """The detector with this code, started once in a process and kept."""
    if code == MEDIAPIPE and settings.mediapipe_model is not None:
        return mediapipe_detector(settings.mediapipe_model, settings.confidence)
    if code == DLIB:
        return dlib_detector()
    raise ValueError(f"{DETECTORS[code]} is no detector to run")


def find_landmarks(settings: Detectors, faces: np.ndarray) -> dict[str, np.ndarray]:
    """The landmarks of N faces, uint8 (N, H, W[, 3]), by the first detector that finds each.

    A face that no detector finds gets the mean face's.

    Returns:
        `landmarks` float32 (N, 68, 2), `detector` uint8 (N,), `confidence` float32 (N,).
    """
    landmarks = np.tile(mean_face(faces.shape[1:3]), (len(faces), 1, 1))
    codes = np.full(len(faces), TEMPLATE, np.uint8)
    confidence = np.full(len(faces), np.nan, np.float32)
    for index, face in enumerate(faces):
        for code in settings.order:
            found = detect(face, running_detector(code, settings), PADDINGS[code])
            if found is not None:
                landmarks[index], codes[index], confidence[index] = found.landmarks, code, found.confidence
                break
    return {"landmarks": landmarks, "detector": codes, "confidence": confidence}


def find_regions(settings: Detectors, margin: float, faces: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of `find_landmarks`, and `regions` uint8 (N, H, W) made from the landmarks."""
    found = find_landmarks(settings, faces)
    return {**found, "regions": region_maps(found["landmarks"], faces.shape[1:3], margin)}


def batches_of(faces: np.ndarray, start: int, count: int) -> Iterator[np.ndarray]:
    """The faces (N, ...) from row `start` on, at most `count` at a time."""
    for first in range(start, len(faces), count):
        yield np.asarray(faces[first : first + count])
