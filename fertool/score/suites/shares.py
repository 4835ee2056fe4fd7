"""The metric: which share of a heatmap lies on which region of the face.

    share of region r = sum_p up(H)_p mask_r(p) / sum_p up(H)_p

H is the rectified map on its own grid, `up` its bilinear interpolation to the faces' resolution. That is
linear, up(H) = U H, so

    sum_p (U H)_p mask_r(p) = sum_c H_c (U' mask_r)_c

and the share is an exact weighted sum over the cells c of the raw map: nothing is upsampled or stored.
"""

from collections.abc import Sequence

import numpy as np

from fertool.explain.interpolation import interpolate, interpolation_matrix
from fertool.masks.regions import REGIONS
from fertool.score.suites.map_batches import Maps, row_batches


def region_weights(region_maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The heat that a unit of heat in each cell puts on each region: float64 (N, regions, h, w).

    `region_maps` are region codes, uint8 (N, H, W). Summed over regions the weights do not depend on the
    face: a pixel has one region.
    """
    masks = np.asarray(region_maps)[:, None] == np.arange(len(REGIONS))[None, :, None, None]
    if masks.shape[2:] == tuple(grid):  # a map at the faces' own resolution needs no interpolation
        return masks.astype(np.float64)
    down = interpolation_matrix(region_maps.shape[1], grid[0])
    across = interpolation_matrix(region_maps.shape[2], grid[1])
    return down.T @ (masks.astype(np.float64) @ across)


def shares_and_ceilings(
    heatmaps: Sequence[Maps], region_maps: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """`region_shares` of each of several explanations of the same faces, and the `region_ceilings` of the first.

    Cells' weights on the regions, which take longest, are made once for the maps that share a grid. Memory is bounded:
    maps with more cells than their faces have pixels are brought to the faces' resolution instead, which is the same
    sum, and no weights of theirs are held for more than a region of a face.

    Args:
        heatmaps: rectified maps (N, h, w), each explanation's on a grid of its own.
        region_maps: region codes, uint8 (N, H, W).

    Returns:
        Shares of each explanation, and ceilings of the first one's grid, all float64 (N, regions).
    """
    shares = [np.empty((len(region_maps), len(REGIONS))) for _ in heatmaps]
    ceilings = np.empty((len(region_maps), len(REGIONS)))
    first = heatmaps[0].shape[1:]
    for rows in row_batches(max(heatmaps, key=lambda maps: np.prod(maps.shape[1:]))):
        regions = region_maps[rows]
        grids = dict.fromkeys(maps.shape[1:] for maps in heatmaps)
        weights = {grid: region_weights(regions, grid) for grid in grids if not _is_finer(grid, regions)}
        for maps, own_shares in zip(heatmaps, shares, strict=True):
            grid, heat = maps.shape[1:], maps[rows]
            if grid in weights:
                own_shares[rows] = region_shares(heat, weights[grid])
            else:
                shown = interpolate(heat, regions.shape[1:])
                own_shares[rows] = region_shares(shown, region_weights(regions, shown.shape[1:]))
        if first in weights:
            ceilings[rows] = region_ceilings(weights[first])
        else:
            ceilings[rows] = _ceilings_of_fine_grid(regions, first)
    return shares, ceilings


def _is_finer(grid: tuple[int, int], regions: np.ndarray) -> bool:
    return grid[0] * grid[1] > regions.shape[1] * regions.shape[2]


def _ceilings_of_fine_grid(regions: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """`region_ceilings` of a grid with more cells than the faces have pixels, float64 (B, regions)."""
    down = interpolation_matrix(regions.shape[1], grid[0])
    across = interpolation_matrix(regions.shape[2], grid[1])
    total = np.outer(down.sum(axis=0), across.sum(axis=0))
    # no pixel lies on some of the cells
    scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    return np.array(
        [
            [((down.T @ (face == code) @ across) * scale).max() for code in range(len(REGIONS))]
            for face in np.asarray(regions)
        ]
    )


def region_shares(heatmaps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shares float64 (N, regions) of rectified heatmaps (N, h, w), given their `region_weights`.

    The shares of a face add up to 1; a map of zeros has none: nan.
    """
    mass = np.einsum("nhw,nrhw->nr", np.asarray(heatmaps, dtype=np.float64), weights, optimize=True)
    total = mass.sum(axis=1, keepdims=True)
    return np.divide(mass, total, out=np.full_like(mass, np.nan), where=total > 0)


def region_ceilings(weights: np.ndarray) -> np.ndarray:
    """The largest share that any map on this grid could give each region, float64 (N, regions).

    A share is a mean of the cells' own shares, weighted by their mass, so no map does better than all of its
    heat in the one cell that lies deepest in the region.
    """
    total = weights.sum(axis=1, keepdims=True)
    # a grid finer than the faces has cells that no pixel lies on
    cell_shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return cell_shares.max(axis=(2, 3))


def area_shares(region_maps: np.ndarray) -> np.ndarray:
    """The share of the picture that each region takes, float64 (N, regions)."""
    areas = np.empty((len(region_maps), len(REGIONS)))
    for rows in row_batches(region_maps):
        codes = np.asarray(region_maps[rows]).reshape(len(areas[rows]), -1)
        areas[rows] = np.stack([(codes == code).mean(axis=1) for code in range(len(REGIONS))], axis=1)
    return areas


def pooled(heatmaps: Maps, grid: int) -> np.ndarray:
    """Rectified heatmaps (N, h, w) on a common grid, float64 (N, grid, grid), each cell's mass kept.

    A cell is an area: the part of it that falls into a cell of the new grid takes that part of its mass. Cells of the
    result hold mass, which on a grid of equal cells is density up to a constant that shares do not see.
    """
    down, across = (_overlaps(cells, grid) for cells in heatmaps.shape[1:])
    result = np.empty((len(heatmaps), grid, grid))
    for rows in row_batches(heatmaps):
        heat = np.asarray(heatmaps[rows], dtype=np.float64)
        result[rows] = np.einsum("ih,nhw,jw->nij", down, heat, across, optimize=True)
    return result


def _overlaps(cells: int, grid: int) -> np.ndarray:
    """The part of each of `cells` equal intervals that lies in each of `grid` ones, float64 (grid, cells)."""
    starts, bounds = np.arange(cells) / cells, np.arange(grid + 1) / grid
    low = np.maximum(starts[None], bounds[:-1, None])
    high = np.minimum(starts[None] + 1 / cells, bounds[1:, None])
    return (high - low).clip(min=0) * cells
