"""Heatmaps in batches whose memory is bounded, whatever their grid: own maps may be far finer than the faces."""

from collections.abc import Iterator

import numpy as np

from fertool.explain.heatmaps import RectifiedMaps

Maps = np.ndarray | RectifiedMaps
"""Rectified heatmaps (N, h, w): an array, or one that is read or made as it is indexed."""

MOST_ROWS = 512
MOST_CELLS = 2**25  # of a batch: 256 MB in float64


def row_batches(maps: Maps, most_rows: int = MOST_ROWS) -> Iterator[slice]:
    """Slices over the rows of maps, each of at most so many rows and MOST_CELLS cells, and of one row at least."""
    cells = int(np.prod(maps.shape[1:]))
    step = max(1, min(most_rows, MOST_CELLS // max(cells, 1)))
    return (slice(start, min(start + step, len(maps))) for start in range(0, len(maps), step))
