"""A gallery of faces with heatmaps and region outlines, drawn by lot and not by hand."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fertool.masks.regions import REGIONS
from fertool.report.figures import REGION_COLOURS
from fertool.score.attention import interpolation_matrix

HEAT_COLOURS = "inferno"  # its lightness rises evenly: it survives colour-blindness and grey print
HEAT_OPACITY = 0.55


@dataclass(frozen=True)
class GalleryRow:
    """One run's maps of the gallery's faces."""

    name: str
    heatmaps: np.ndarray  # (n, h, w), rectified
    predicted: np.ndarray  # class codes (n,)


def draw_lots(labels: np.ndarray, classes: int, faces_per_class: int, seed: int = 0) -> np.ndarray:
    """Rows of `faces_per_class` faces of each class (fewer where there are fewer), by seed."""
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == code))[:faces_per_class] for code in range(classes)
    ]
    return np.concatenate(chosen)


def gallery_figure(
    faces: np.ndarray, region_maps: np.ndarray, labels: np.ndarray, classes: list[str], rows: list[GalleryRow]
) -> Figure:
    """Faces with their regions in the first row, then a row of heatmaps for each run.

    `faces` (n, H, W[, 3]), `region_maps` (n, H, W), `labels` (n,). Each map is scaled to its own maximum:
    colours compare within a face and not between faces.
    """
    columns = len(faces)
    figure = Figure(figsize=(0.95 * columns + 0.6, 1.12 * (len(rows) + 1)), layout="constrained")
    grid = figure.subplots(len(rows) + 1, columns, squeeze=False)
    for column in range(columns):
        axes = grid[0][column]
        _show_face(axes, faces[column])
        _outline(axes, region_maps[column])
        axes.set_title(classes[labels[column]], fontsize=8)
    for number, row in enumerate(rows, start=1):
        for column in range(columns):
            axes = grid[number][column]
            _show_face(axes, faces[column])
            _show_heat(axes, row.heatmaps[column], faces.shape[1:3])
            _outline(axes, region_maps[column])
            right = row.predicted[column] == labels[column]
            axes.set_xlabel(
                classes[row.predicted[column]], fontsize=7, color="black" if right else "#B00020", labelpad=2
            )
        grid[number][0].set_ylabel(row.name, fontsize=8)
    return figure


def _show_face(axes: Axes, face: np.ndarray) -> None:
    axes.imshow(face, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])


def _show_heat(axes: Axes, heatmap: np.ndarray, shape: tuple[int, int]) -> None:
    rows, columns = (
        interpolation_matrix(side, cells) for side, cells in zip(shape, heatmap.shape, strict=True)
    )
    heat = rows @ heatmap @ columns.T
    axes.imshow(heat, cmap=HEAT_COLOURS, alpha=HEAT_OPACITY, vmin=0, vmax=heat.max() or 1)


def _outline(axes: Axes, region_map: np.ndarray) -> None:
    for code, name in enumerate(REGIONS):
        inside = region_map == code
        # the face's own outline, not that of the skin between its features
        inside = region_map > 0 if name == "face contour" else inside
        if code > 0 and inside.any():
            axes.contour(inside, levels=[0.5], colors=REGION_COLOURS[name], linewidths=0.9)
