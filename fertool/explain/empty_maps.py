"""Maps without heat: how many are too many, and an explainer that has none."""

import numpy as np

from fertool.explain.heatmaps import Heatmaps, slices

MOST_EMPTY = 0.1  # share of a run's maps; above it there is a note
SIZE_OF = {"gradcam": "gradcam-size", "hirescam": "gradcam-abs"}  # the same terms, counted by their size


def empty_notes(maps: Heatmaps) -> list[str]:
    """A note where more than a tenth of the maps are empty, with an explainer that has no empty map."""
    record = maps.record or {}
    empty, faces = record.get("empty", 0), record.get("faces", 0)
    if maps.request.null is not None or empty <= MOST_EMPTY * faces:
        return []
    return [
        f"{maps.run.name}: {empty:,} of {faces:,} maps of {maps.request.key} for {maps.target} are empty: every cell "
        f"speaks against the class; {_without_empty_maps(maps)}"
    ]


def _without_empty_maps(maps: Heatmaps) -> str:
    by_size = SIZE_OF.get(maps.request.explainer.name)
    if by_size and all(_has_cells(maps.raw[rows]).all() for rows in slices(maps.raw.shape)):
        return f"{by_size}, which counts cells by their size, has none"
    return "input-gradient, which counts cells by their size, has none but where the gradient is 0"


def _has_cells(raw: np.ndarray) -> np.ndarray:
    """Whether each raw map (B, h, w) has a cell that is not 0, bool (B,)."""
    return np.asarray(raw.any(axis=(1, 2)))
