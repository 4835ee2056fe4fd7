"""Regions by condition: shares, lifts or causal weights, each region on a scale of its own."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fertool.masks.regions import REGIONS
from fertool.report.figures.style import LEVEL, SERIES, SOFT, plain
from fertool.report.first_screen import MEASURES, Row

ACROSS = 3  # panels


def regions_figure(rows: Sequence[Row], measure: str, seeds: dict[str, list[list[float]]]) -> Figure:
    """A panel a region, a dot with its 95% interval a condition; small dots are seeds, hollow ones chance.

    `seeds` are the six figures of each run of a condition, by the condition's name, in the figures' own unit.
    """
    height = 0.9 + 0.24 * len(rows)
    figure = Figure(figsize=(9, 2 * height), layout="constrained")
    panels = figure.subplots(len(REGIONS) // ACROSS, ACROSS, sharey=True).ravel()
    at = np.arange(len(rows))[::-1]
    for number, (region, axes) in enumerate(zip(REGIONS, panels, strict=True)):
        cells = [row.regions[measure][region] for row in rows]
        scale = cells[0].scale if cells else 1
        for place, row, cell in zip(at, rows, cells, strict=True):
            if cell.estimate is None or not cell.is_known:
                continue
            colour = SOFT if cell.mark == "ceiling" else SERIES[0]
            value, low, high = (
                scale * of for of in (cell.estimate.value, cell.estimate.low, cell.estimate.high)
            )
            if cell.has_interval:
                axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            for of_seed in seeds.get(row.condition.name, []):
                axes.plot(scale * of_seed[number], place - 0.25, ".", color=colour, markersize=3)
            face = "none" if cell.mark else colour
            marker = "x" if cell.mark == "ceiling" else "o"
            axes.plot(value, place, marker, color=colour, markerfacecolor=face, markersize=5)
        if measure == "lift":
            axes.axvline(1, **LEVEL)
        elif measure == "causal":
            axes.axvline(0, **LEVEL)
        axes.set_title(region, fontsize=9)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_yticks(at, [row.condition.name for row in rows])
        plain(axes)
    for axes in panels[ACROSS:]:
        axes.set_xlabel(MEASURES[measure])
    return figure
