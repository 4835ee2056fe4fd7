"""Robustness: accuracy over the strength of each corruption."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fertool.report.figures.style import NAME_INCHES, NAMES_ACROSS, PAGE_INCHES, name_above, plain, style_of


def corruptions_figure(
    figures_by_condition: Mapping[str, Sequence[Mapping[str, Any]]], width_inches: float = PAGE_INCHES
) -> Figure:
    """A panel a corruption, a line a condition: accuracy in %, mean over seeds, at strength 0 (clean) to 5.

    `figures_by_condition` are the figures of the suite robustness, of each run, by condition.
    """
    names = list(next(iter(figures_by_condition.values()))[0]["corruptions"])
    across = max(2, round(width_inches * 4 / PAGE_INCHES))
    down = -(-len(names) // across)
    legend = max(1, int(width_inches * NAMES_ACROSS / PAGE_INCHES))
    height = NAME_INCHES * -(-len(figures_by_condition) // legend) + 0.2 + 1.45 * down
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, corruption in zip(panels, names, strict=False):
        for number, (name, runs) in enumerate(figures_by_condition.items()):
            found = [run["corruptions"][corruption] for run in runs if corruption in run["corruptions"]]
            known = [figures for figures in found if figures["faces"]]
            if not known:
                continue
            errors = np.mean([[figures["clean_error"], *figures["error"]] for figures in known], axis=0)
            axes.plot(100 * (1 - errors), markersize=3, linewidth=1.2, label=name, **style_of(number))
        axes.set_title(corruption, fontsize=9)
        plain(axes)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[: len(names)][-across:]:
        axes.set_xlabel("strength")
        axes.tick_params(labelbottom=True)
    for axes in panels[::across]:
        axes.set_ylabel("accuracy, %")
    name_above(figure, panels[0], legend)
    return figure
