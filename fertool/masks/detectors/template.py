"""The mean face: the landmarks of a face that no detector finds.

`mean_face.json` holds the mean of the landmarks that MediaPipe found on FER2013's training faces, mirrored
and averaged with itself, as shares of the picture's width and height. It was made, from a workspace with
FER2013's faces and masks, by `python -m fertool.masks.detectors.template WORKSPACE > mean_face.json`.
"""

import functools
import importlib.resources
import json
import sys

import numpy as np

from fertool.masks.detectors.small_faces import MEDIAPIPE
from fertool.masks.landmarks import MIRRORED
from fertool.workspace import Workspace


@functools.cache
def _shares() -> np.ndarray:
    text = importlib.resources.files("fertool.masks").joinpath("mean_face.json").read_text()
    return np.array(json.loads(text)["landmarks"], np.float32)


def mean_face(shape: tuple[int, int]) -> np.ndarray:
    """The mean face's landmarks, float32 (68, 2), in pixels of a picture of `shape` (H, W)."""
    return _shares() * np.array([shape[1], shape[0]], np.float32)


def measure_mean_face(workspace: Workspace) -> list[list[float]]:
    """The mean of MediaPipe's landmarks on the training faces, (68, 2), as shares of the picture."""
    height, width = workspace.load_faces("train").shape[1:3]
    stored = workspace.load_landmarks("train", ["landmarks", "detector"])
    found = stored["landmarks"][stored["detector"] == MEDIAPIPE]
    shares = found.mean(axis=0, dtype=np.float64) / [width, height]
    mirrored = shares[MIRRORED] * [-1, 1] + [1, 0]
    mean: list[list[float]] = ((shares + mirrored) / 2).round(5).tolist()
    return mean


if __name__ == "__main__":
    print(json.dumps({"landmarks": measure_mean_face(Workspace(sys.argv[1]))}))
