"""The metric: which share of a heatmap lies on which region of the face.

    share of region r = sum_p up(H)_p mask_r(p) / sum_p up(H)_p

H is the rectified map on its own grid, `up` its bilinear interpolation to the faces' resolution. That is
linear, up(H) = U H, so

    sum_p (U H)_p mask_r(p) = sum_c H_c (U' mask_r)_c

and the share is an exact weighted sum over the cells c of the raw map: nothing is upsampled or stored.
"""

import numpy as np

from fertool.masks.regions import REGIONS


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


def region_weights(region_maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """What a unit of heat in each cell puts on each region: float64 (N, regions, h, w).

    `region_maps` are region codes, uint8 (N, H, W). Summed over regions the weights do not depend on the
    face: a pixel has one region.
    """
    down = interpolation_matrix(region_maps.shape[1], grid[0])
    across = interpolation_matrix(region_maps.shape[2], grid[1])
    masks = np.asarray(region_maps)[:, None] == np.arange(len(REGIONS))[None, :, None, None]
    return np.einsum("nrij,ih,jw->nrhw", masks.astype(np.float64), down, across, optimize=True)


def region_shares(heatmaps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shares float64 (N, regions) of rectified heatmaps (N, h, w), given their `region_weights`.

    The shares of a face add up to 1; those of a map of zeros are nan: it has none.
    """
    mass = np.einsum("nhw,nrhw->nr", np.asarray(heatmaps, dtype=np.float64), weights, optimize=True)
    total = mass.sum(axis=1, keepdims=True)
    return np.divide(mass, total, out=np.full_like(mass, np.nan), where=total > 0)


def region_ceilings(weights: np.ndarray) -> np.ndarray:
    """The largest share that any map on this grid could give each region, float64 (N, regions).

    A share is a mean of the cells' own shares, weighted by their mass, so no map does better than all of its
    heat in the one cell that lies deepest in the region.
    """
    of_cell = weights / weights.sum(axis=1, keepdims=True)
    return of_cell.max(axis=(2, 3))


def area_shares(region_maps: np.ndarray) -> np.ndarray:
    """The share of the picture that each region takes, float64 (N, regions)."""
    codes = np.asarray(region_maps).reshape(len(region_maps), -1)
    return np.stack([(codes == code).mean(axis=1) for code in range(len(REGIONS))], axis=1)
