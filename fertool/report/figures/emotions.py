"""Regions by emotion: lifts as a table of colours around 1."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fertool.masks.regions import REGIONS
from fertool.runtime.drawn_text import drawable
from fertool.score.guidance.effects import Estimate

# blue below 1, orange above: told apart by colour-blind readers; grey print shows the figures in the cells
DIVERGING = LinearSegmentedColormap.from_list("lift", ["#0072b2", "#f2f2f2", "#d55e00"])
MOST_OCTAVES = 1.5  # the colours' ends: lifts of 2^-1.5 and 2^1.5


def lift_colour(lift: float) -> str:
    """The colour of a lift on the diverging scale around 1, `#rrggbb`; grey where there is none."""
    if not np.isfinite(lift):
        return "#bbbbbb"
    return "#" + "".join(f"{round(255 * part):02x}" for part in lift_colours(np.array(lift))[:3])


def lift_colours(lifts: np.ndarray) -> np.ndarray:
    """The colours of known lifts on the diverging scale around 1, 0..1 RGBA (..., 4)."""
    octaves = np.clip(np.log2(np.maximum(lifts, 1e-6)) / MOST_OCTAVES, -1, 1)
    return np.asarray(DIVERGING((octaves + 1) / 2))


def emotions_figure(by_emotion: Mapping[str, Mapping[str, Estimate]], width_inches: float = 5.2) -> Figure:
    """Emotions by regions: lifts, those whose interval holds 1 in brackets."""
    emotions = list(by_emotion)
    lifts = np.array([[by_emotion[emotion][region].value for region in REGIONS] for emotion in emotions])
    size = min(8, 1.5 * width_inches)
    figure = Figure(figsize=(width_inches, 0.9 + 0.062 * width_inches * len(emotions)), layout="constrained")
    axes = figure.add_subplot()
    octaves = np.log2(np.maximum(lifts, 1e-6))
    axes.imshow(octaves, cmap=DIVERGING, vmin=-MOST_OCTAVES, vmax=MOST_OCTAVES, aspect="auto")
    for row, emotion in enumerate(emotions):
        for column, region in enumerate(REGIONS):
            lift = by_emotion[emotion][region]
            text = f"{lift.value:.2f}"
            shown = text if lift.low > 1 or lift.high < 1 else f"({text})"
            strong = abs(octaves[row, column]) > 0.75 * MOST_OCTAVES
            axes.text(
                column,
                row,
                shown,
                ha="center",
                va="center",
                fontsize=size,
                color="white" if strong else "black",
            )
    axes.set_xticks(range(len(REGIONS)), REGIONS, fontsize=size)
    axes.set_yticks(range(len(emotions)), [drawable(emotion) for emotion in emotions], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
