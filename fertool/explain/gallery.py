"""A gallery of faces with heatmaps and region outlines; the faces are chosen at random and not by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from fertool.explain.overlay import add_legend, outline_regions, show_face, show_heat
from fertool.models.predictions import read_logits
from fertool.runtime.drawn_text import drawable, plain_text
from fertool.workspace import Run, Workspace

# a mark beside the colour: some readers, and a grey print, do not show red
RIGHT, WRONG = ("✓", "black"), ("✗", "#B00020")
FACES_PER_CLASS = 2
CELL_INCHES = 1.1
NAME_LENGTH = 16  # characters of a class in a cell


@dataclass(frozen=True)
class GalleryColumn:
    """One run's maps of the gallery's faces by one explainer.

    `heatmaps` (n, h, w) are rectified; `predicted` are class codes (n,), None where they are not known.
    """

    name: str
    heatmaps: np.ndarray
    predicted: np.ndarray | None


def draw_lots(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows of FACES_PER_CLASS faces of each class (fewer where there are fewer), always the same ones."""
    generator = np.random.default_rng(0)
    chosen = [
        generator.permutation(np.flatnonzero(labels == code))[:FACES_PER_CLASS] for code in range(classes)
    ]
    return np.concatenate(chosen)


def draw_gallery(
    workspace: Workspace,
    split: str,
    rows: np.ndarray,
    maps: Sequence[tuple[str, Run, np.ndarray]],
    *,
    faces_across: bool = False,
) -> Figure:
    """The gallery of some faces of a split, with the stored predictions of each column's run.

    Args:
        workspace: where the faces lie.
        split: their split.
        rows: the faces, int (n,).
        maps: the columns' names, runs and rectified maps (n, h, w).
        faces_across: a column a face, for a page that is wide.
    """
    columns = []
    for name, run, heatmaps in maps:
        predicted = None
        if run.predictions(split).exists():
            predicted = read_logits(workspace, run, split)[rows].argmax(axis=1)
        columns.append(GalleryColumn(name, heatmaps, predicted))
    return gallery_figure(
        workspace.load_faces(split)[rows],
        workspace.load_region_maps(split)[rows],
        workspace.load_labels(split)[rows],
        workspace.dataset()["classes"],
        columns,
        faces_across=faces_across,
    )


def gallery_figure(
    faces: np.ndarray,
    region_maps: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    columns: Sequence[GalleryColumn],
    *,
    faces_across: bool = False,
) -> Figure:
    """A row a face: first with the outlines of its regions, then under each column's heat.

    Each map is scaled to its own maximum: colours compare within a face and not between faces. Below a map stands its
    run's prediction, with a tick or, in red, a cross.

    Args:
        faces: uint8 (n, H, W) or (n, H, W, 3).
        region_maps: region codes (n, H, W).
        labels: class codes (n,).
        classes: the classes' names.
        columns: the maps.
        faces_across: swap rows and columns, for a page that is wide.
    """
    with plain_text():
        return _gallery_figure(faces, region_maps, labels, classes, columns, faces_across)


def _gallery_figure(
    faces: np.ndarray,
    region_maps: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    columns: Sequence[GalleryColumn],
    faces_across: bool,
) -> Figure:
    shape = (len(faces), len(columns) + 1)
    height, width = shape[::-1] if faces_across else shape
    figure = Figure(
        figsize=(CELL_INCHES * width + 0.6, 1.18 * CELL_INCHES * height + 1.2), layout="constrained"
    )
    grid = figure.subplots(height, width, squeeze=False)
    if faces_across:
        grid = grid.T
    for face, region_map, label, row in zip(faces, region_maps, labels, grid, strict=True):
        show_face(row[0], face)
        outline_regions(row[0], region_map)
        name_face = row[0].set_title if faces_across else row[0].set_ylabel
        name_face(drawable(classes[label], NAME_LENGTH), fontsize=8)
    for column, cells in zip(columns, grid.T[1:], strict=True):
        for number, axes in enumerate(cells):
            show_heat(axes, faces[number], column.heatmaps[number])
            outline_regions(axes, region_maps[number], over_heat=True)
            if column.predicted is not None:
                predicted, label = column.predicted[number], labels[number]
                mark, colour = RIGHT if predicted == label else WRONG
                words = f"{mark} {drawable(classes[predicted], NAME_LENGTH)}"
                axes.set_xlabel(words, fontsize=7, color=colour, labelpad=2)
        name_column = cells[0].set_ylabel if faces_across else cells[0].set_title
        name_column(drawable(column.name), fontsize=8)
    add_legend(figure, grid.ravel().tolist())
    return figure
