"""Masks of faces that no detector looks at: synthetic ones, and those that get the mean face."""

from collections.abc import Iterator

import numpy as np

from fertool.masks.detectors.small_faces import SYNTHETIC, TEMPLATE
from fertool.masks.detectors.template import mean_face
from fertool.masks.find_landmarks import batches_of
from fertool.masks.regions import BACKGROUND, region_maps
from fertool.runtime.reading import damaged
from fertool.workspace import Workspace

ROWS_AT_ONCE = 1024


def synthetic_rows(
    workspace: Workspace, split: str, start: int, margin: float
) -> Iterator[dict[str, np.ndarray]]:
    """The masks of a split's synthetic faces from row `start` on, from the landmarks that they were made with.

    Raises UserError where these do not fit the faces.
    """
    truth, faces = workspace.load_truth(split), workspace.load_faces(split)
    path, marks = workspace.truth(split), truth.get("mark")
    if "landmarks" not in truth or truth["landmarks"].shape != (len(faces), 68, 2):
        raise damaged(path, f"holds no landmarks of {len(faces)} faces", workspace.remedy(path))
    landmarks = truth["landmarks"].astype(np.float32)
    for first in range(start, len(faces), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        regions = region_maps(landmarks[rows], faces.shape[1:3], margin)
        if marks is not None:
            regions[marks[rows]] = BACKGROUND  # wherever the mark lies
        yield _rows(SYNTHETIC, landmarks[rows], regions)


def mean_face_rows(faces: np.ndarray, start: int, margin: float) -> Iterator[dict[str, np.ndarray]]:
    """The mean face's mask for each of the faces (N, H, W[, 3]) from row `start` on."""
    landmarks = mean_face(faces.shape[1:3])[None]
    regions = region_maps(landmarks, faces.shape[1:3], margin)
    for batch in batches_of(faces, start, ROWS_AT_ONCE):
        yield _rows(TEMPLATE, landmarks.repeat(len(batch), 0), regions.repeat(len(batch), 0))


def _rows(code: int, landmarks: np.ndarray, regions: np.ndarray) -> dict[str, np.ndarray]:
    count = len(landmarks)
    return {
        "landmarks": landmarks,
        "detector": np.full(count, code, np.uint8),
        "confidence": np.full(count, np.nan, np.float32),
        "regions": regions,
    }
