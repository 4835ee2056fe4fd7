"""How far MediaPipe's and dlib's landmarks lie apart on faces that both find."""

from typing import Any

import numpy as np

from fertool.masks.landmarks import PARTS, interocular_distance

SAMPLED_FACES = 500


def measure_agreement(mediapipe: np.ndarray, dlib: np.ndarray) -> dict[str, Any]:
    """Distances between two detectors' landmarks (N, 68, 2) of the same faces, in inter-ocular distances.

    For each face the mean over the points, divided by MediaPipe's inter-ocular distance; then the median over
    the faces: of all 68 points and of each part. None where there is no face.
    """
    apart = np.linalg.norm(mediapipe - dlib, axis=-1) / interocular_distance(mediapipe)[:, None]

    def median(points: slice) -> float | None:
        return round(float(np.median(apart[:, points].mean(axis=1))), 4) if len(apart) else None

    return {
        "faces": len(apart),
        "median_distance_iod": median(slice(None)),
        "by_part_iod": {part: median(points) for part, points in PARTS.items()},
    }
