"""Landmarks as a heatmap: a Gaussian at each point, SPREAD_IOD wide; a cell holds the largest of them."""

from collections.abc import Sequence

import numpy as np

from fertool.masks.landmarks import interocular_distance

SPREAD_IOD = 0.08  # standard deviation, in inter-ocular distances


def landmark_heatmaps(
    landmarks: np.ndarray, shape: tuple[int, int], points: Sequence[int] = range(68)
) -> np.ndarray:
    """The heatmap of some of the points of each face, float32 (N, H, W), 0..1; zeros without points.

    `landmarks` are float (N, 68, 2), in pixels; `shape` is (H, W); `points` are indices of the 68.
    """
    down, across = (np.arange(side, dtype=np.float32) + 0.5 for side in shape)
    width = 2 * (SPREAD_IOD * interocular_distance(landmarks).astype(np.float32))[:, None] ** 2
    maps = np.zeros((len(landmarks), *shape), dtype=np.float32)
    for point in points:
        centre = landmarks[:, point].astype(np.float32)
        vertical = np.exp(-((down - centre[:, 1:]) ** 2) / width)
        horizontal = np.exp(-((across - centre[:, :1]) ** 2) / width)
        np.maximum(maps, vertical[:, :, None] * horizontal[:, None, :], out=maps)
    return maps
