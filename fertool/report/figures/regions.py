"""Regions by condition: shares, lifts or causal weights, each region on a scale of its own."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fertool.masks.regions import REGIONS
from fertool.report.figures.style import LEVEL, PAGE_INCHES, SERIES, SOFT, fitted, plain
from fertool.report.first_screen import MEASURES, Cell, Row

NARROW_INCHES = 5.0  # below it fewer panels stand side by side


def regions_figure(
    rows: Sequence[Row], measure: str, seeds: dict[str, list[list[float]]], width_inches: float = PAGE_INCHES
) -> Figure:
    """A panel a region, a dot with its 95% interval a condition; small dots are seeds, hollow ones chance.

    `seeds` are the six figures of each run of a condition, by the condition's name, in the figures' own unit.
    """
    height = 0.9 + 0.3 * len(rows)
    across = 2 if width_inches < NARROW_INCHES else 3
    down = len(REGIONS) // across
    figure = Figure(figsize=(width_inches, down * height), layout="constrained")
    panels = figure.subplots(down, across, sharey=True).ravel()
    at = np.arange(len(rows))[::-1]
    names = [fitted(row.condition.name, width_inches) for row in rows]
    if len(set(names)) < len(names):  # shortened alike: the letters of the page's table tell them apart
        names = [fitted(f"{row.condition.letter} {row.condition.name}", width_inches) for row in rows]
    for number, (region, axes) in enumerate(zip(REGIONS, panels, strict=True)):
        cells = [row.regions[measure][region] for row in rows]
        for place, row, cell in zip(at, rows, cells, strict=True):
            if cell.is_known:
                figure_by_seed = [seed_figures[number] for seed_figures in seeds.get(row.condition.name, [])]
                _draw(axes, place, cell, figure_by_seed)
        if measure == "lift":
            axes.axvline(1, **LEVEL)
        elif measure == "causal":
            axes.axvline(0, **LEVEL)
        axes.set_title(region, fontsize=9)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_yticks(at, names)
        plain(axes)
    for axes in panels[-across:]:
        axes.set_xlabel(MEASURES[measure])
    return figure


def _draw(axes: Axes, place: float, cell: Cell, seeds: Sequence[float]) -> None:
    """A figure with its interval and seeds, in the row `place`."""
    colour = SOFT if cell.mark == "ceiling" else SERIES[0]
    value, low, high = (cell.scale * getattr(cell.estimate, which) for which in ("value", "low", "high"))
    if cell.has_interval:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    for seed_figure in seeds:
        axes.plot(cell.scale * seed_figure, place - 0.25, ".", color=colour, markersize=3)
    face = "none" if cell.mark else colour
    axes.plot(
        value, place, "x" if cell.mark == "ceiling" else "o", color=colour, markerfacecolor=face, markersize=5
    )
