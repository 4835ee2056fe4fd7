"""The sheet of a photograph: its faces numbered, their predicted classes, and their heatmaps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from fertool.explain.overlay import add_legend, outline_regions, show_face, show_heat
from fertool.masks.photographs import Crop
from fertool.masks.regions import region_map
from fertool.runtime.drawn_text import drawable, plain_text

CELL_INCHES = 1.7
LEAST_COLUMNS = 4  # the sheet is at least this many cells wide, for the photograph's sake
TALLEST_PHOTOGRAPH_INCHES = 6.0
MOST_WORDS = 8  # classes named beside a face
NAME_LENGTH = 16  # characters of a class
OUTLINE_PX = 288  # a side that outlines are drawn at


@dataclass(frozen=True)
class MapColumn:
    """One explainer's maps, for one target, of some faces: (n, h, w), rectified."""

    name: str
    heatmaps: np.ndarray


def sheet_figure(
    picture: np.ndarray,
    boxes: np.ndarray,
    crops: Sequence[Crop],
    classes: Sequence[str],
    probabilities: np.ndarray,
    columns: Sequence[MapColumn],
) -> Figure:
    """The photograph with its faces numbered; then a row a face: its classes, its crop, its maps.

    The crop is shown as the model sees it, with the outlines of its regions. Each map is scaled to its own maximum.

    Args:
        picture: the photograph, uint8 RGB (h, w, 3).
        boxes: the faces' boxes in its pixels, (n, 4).
        crops: the faces.
        classes: the classes' names.
        probabilities: (n, classes).
        columns: the maps.
    """
    with plain_text():
        return _sheet_figure(picture, boxes, crops, classes, probabilities, columns)


def _sheet_figure(
    picture: np.ndarray,
    boxes: np.ndarray,
    crops: Sequence[Crop],
    classes: Sequence[str],
    probabilities: np.ndarray,
    columns: Sequence[MapColumn],
) -> Figure:
    width = CELL_INCHES * max(len(columns) + 2, LEAST_COLUMNS)
    top_inches = min(width * picture.shape[0] / picture.shape[1], TALLEST_PHOTOGRAPH_INCHES)
    rows_inches = 1.06 * CELL_INCHES * len(crops) + 1.1
    figure = Figure(figsize=(width, top_inches + rows_inches), layout="constrained")
    top, below = np.asarray(figure.subfigures(2, 1, height_ratios=[top_inches, rows_inches])).tolist()
    _number_faces(top.add_subplot(), picture, boxes)

    grid = below.subplots(len(crops), max(len(columns) + 2, LEAST_COLUMNS), squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, (crop, shares, row) in enumerate(zip(crops, probabilities, grid, strict=True)):
        regions = region_map(crop.landmarks * _fineness(crop), (OUTLINE_PX, OUTLINE_PX))
        _put_in_words(row[0], number + 1, classes, shares)
        show_face(row[1], crop.face)
        outline_regions(row[1], regions)
        for column, axes in zip(columns, row[2:], strict=False):
            show_heat(axes, crop.face, column.heatmaps[number])
            outline_regions(axes, regions, over_heat=True)
    grid[0][1].set_title("as the model sees it", fontsize=8)
    for column, axes in zip(columns, grid[0][2:], strict=False):
        axes.set_title(drawable(column.name), fontsize=8)
    add_legend(below, grid.ravel().tolist())
    return figure


def _fineness(crop: Crop) -> np.ndarray:
    height, width = crop.face.shape[:2]
    return np.array([OUTLINE_PX / width, OUTLINE_PX / height])


def _number_faces(axes: Axes, picture: np.ndarray, boxes: np.ndarray) -> None:
    axes.imshow(picture)
    axes.set_axis_off()
    edge = [Stroke(linewidth=3, foreground="black"), Normal()]
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        axes.add_patch(
            Rectangle(
                (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=1.2, path_effects=edge
            )
        )
        axes.annotate(
            str(number), (x0, y0), xytext=(0, 2), textcoords="offset points", ha="left", va="bottom",
            color="white", fontsize=9, fontweight="bold", path_effects=edge,
        )  # fmt: skip


def _put_in_words(axes: Axes, number: int, classes: Sequence[str], shares: np.ndarray) -> None:
    """The face's number and its classes, the likeliest first."""
    axes.text(0.02, 0.96, f"face {number}", transform=axes.transAxes, fontsize=9, va="top")
    for line, code in enumerate(np.argsort(-shares, kind="stable")[:MOST_WORDS]):
        height = 0.82 - 0.1 * line
        weight = "bold" if line == 0 else "normal"
        name = drawable(classes[code], NAME_LENGTH)
        axes.text(0.02, height, name, transform=axes.transAxes, fontsize=8, va="top", weight=weight)
        axes.text(
            0.98, height, f"{shares[code]:.1%}", transform=axes.transAxes, fontsize=8, va="top", ha="right",
            weight=weight,
        )  # fmt: skip
