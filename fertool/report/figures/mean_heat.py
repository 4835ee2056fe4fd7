"""Mean heatmaps by emotion over the mean face."""

from collections.abc import Mapping

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fertool.report.figures.emotions import DIVERGING, MOST_OCTAVES, lift_colours
from fertool.report.figures.style import PAGE_INCHES
from fertool.runtime.drawn_text import drawable

OPACITY = 0.75  # of the strongest colours
PANEL_INCHES = 0.95  # at least
SHOWN_LIFTS = (0.5, 1, 2)  # in the legend


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Colours of mean heat (H, W) to lie over a face, 0..1 RGBA (H, W, 4): orange above 1, blue below, clear at 1."""
    strength = np.abs(np.log2(np.maximum(heat, 1e-6))).clip(max=MOST_OCTAVES) / MOST_OCTAVES
    colours = lift_colours(heat)
    colours[..., 3] = OPACITY * strength
    return colours


def mean_heat_figure(
    face: np.ndarray, heat_by_emotion: Mapping[str, np.ndarray], width_inches: float = PAGE_INCHES
) -> Figure:
    """The heat of each emotion (H, W), 1 being that of a map that is the same everywhere, over a grey face (H, W)."""
    across = min(len(heat_by_emotion), int(width_inches / PANEL_INCHES))
    down = -(-len(heat_by_emotion) // across)
    height = down * (width_inches / across + 0.2) + 0.45
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    whole = (0, 1, 1, 0)
    for axes, (emotion, heat) in zip(panels, heat_by_emotion.items(), strict=False):
        axes.imshow(face, cmap="gray", vmin=0, vmax=255, extent=whole)
        axes.imshow(heat_colours(heat), extent=whole)
        axes.set_title(drawable(emotion), fontsize=8)
    for axes in panels:
        axes.set_axis_off()
    ends = Normalize(-MOST_OCTAVES, MOST_OCTAVES)
    bar = figure.colorbar(
        ScalarMappable(ends, DIVERGING), ax=list(panels), location="bottom", aspect=40, shrink=0.6, pad=0.02
    )
    bar.set_ticks(
        [float(np.log2(lift)) for lift in SHOWN_LIFTS], labels=[f"{lift:g}" for lift in SHOWN_LIFTS]
    )
    bar.set_label("heat over that of a map that is the same everywhere", fontsize=7)
    bar.outline.set_visible(False)
    return figure
