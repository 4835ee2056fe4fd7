"""Bilinear interpolation: the one rule that brings a map on a coarse grid to pixels."""

import numpy as np


def interpolation_matrix(pixels: int, cells: int) -> np.ndarray:
    """Bilinear interpolation along one axis, float64 (pixels, cells); every row adds up to 1.

    Cells and pixels are areas: the centre of pixel p lies at (p + 1/2) / pixels * cells - 1/2 in units of
    cells, and beyond the outermost centres the outermost cell counts alone (`align_corners=False` in
    PyTorch and OpenCV).
    """
    position = ((np.arange(pixels) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    low = np.minimum(np.floor(position).astype(int), max(cells - 2, 0))
    high = np.minimum(low + 1, cells - 1)
    matrix = np.zeros((pixels, cells))
    np.add.at(matrix, (np.arange(pixels), low), 1 - (position - low))
    np.add.at(matrix, (np.arange(pixels), high), position - low)
    return matrix


def interpolate(heatmaps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) brought bilinearly to `shape`, float64 (N, H, W)."""
    down, across = (interpolation_matrix(*sides) for sides in zip(shape, heatmaps.shape[1:], strict=True))
    return np.einsum("ih,nhw,jw->nij", down, heatmaps, across, optimize=True)
