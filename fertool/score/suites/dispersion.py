"""Spread of a map, and its agreement with another."""

import numpy as np

from fertool.explain.interpolation import interpolate
from fertool.score.suites.map_batches import Maps, row_batches


def spread_of_maps(
    heatmaps: Maps, shape: tuple[int, int], interocular_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and extent of rectified heatmaps (N, h, w), each float64 (N,), nan for a map of zeros.

    The map is brought bilinearly to the faces' resolution `shape`, so that grids compare, and read as a
    distribution p over pixels. Entropy: -sum p log p / log(pixels), 1 for a uniform map. Extent: the mean
    distance of the mass from its centre, sum p |x - sum p x|, in inter-ocular distances `interocular_px` (N,).
    """
    rows_px, columns_px = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    entropy, extent = np.full(len(heatmaps), np.nan), np.full(len(heatmaps), np.nan)
    for rows in row_batches(heatmaps):
        start = rows.start
        heat = interpolate(heatmaps[rows], shape)
        total = heat.sum(axis=(1, 2))
        known = np.flatnonzero(total > 0)
        p = heat[known] / total[known, None, None]
        logarithm = np.log(p, out=np.zeros_like(p), where=p > 0)
        centre_row = np.einsum("nij,i->n", p, rows_px)
        centre_column = np.einsum("nij,j->n", p, columns_px)
        distance = np.hypot(
            rows_px[None, :, None] - centre_row[:, None, None],
            columns_px[None, None, :] - centre_column[:, None, None],
        )
        entropy[start + known] = -(p * logarithm).sum(axis=(1, 2)) / np.log(shape[0] * shape[1])
        extent[start + known] = (p * distance).sum(axis=(1, 2)) / interocular_px[start + known]
    return entropy, extent


def agreement_with(heatmaps: Maps, maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """Energy on, and cosine with, maps (N, H, W) in 0..1, of rectified heatmaps (N, h, w): each float64 (N,).

    Energy: sum(H M) / sum(H). Cosine: <H, M> / (|H| |M|). H is brought bilinearly to the maps' resolution.
    nan where H or M is all zeros.
    """
    energy, cosine = np.full(len(heatmaps), np.nan), np.full(len(heatmaps), np.nan)
    for rows in row_batches(heatmaps):
        start = rows.start
        heat = interpolate(heatmaps[rows], maps.shape[1:])
        wanted = np.asarray(maps[rows], dtype=np.float64)
        common = (heat * wanted).sum(axis=(1, 2))
        sizes = np.sqrt((heat**2).sum(axis=(1, 2)) * (wanted**2).sum(axis=(1, 2)))
        known = np.flatnonzero(sizes > 0)
        energy[start + known] = common[known] / heat.sum(axis=(1, 2))[known]
        cosine[start + known] = common[known] / sizes[known]
    return energy, cosine
