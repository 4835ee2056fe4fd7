"""Figures by groups of faces: lifts, causal weights or accuracy, a panel a region and a row a group."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fertool.report.figures.style import (
    LEVEL,
    NAMES_ACROSS,
    PAGE_INCHES,
    SOFT,
    fitted,
    name_above,
    plain,
    style_of,
)
from fertool.score.by_column import FEW_FACES, MEASURE, Measure

NARROW_INCHES = 5.0  # below it fewer panels stand side by side
LEVELS: dict[str, float] = {
    "lift": 1,
    "causal weight": 0,
}  # of a map that ignores the face, and of what the answer does not rest on
_WITHIN = 0.6  # of a row's height, over which its conditions are spread


def groups_figure(
    measure_name: str,
    faces: Mapping[str, int],
    groups_by_condition: Mapping[str, Mapping[str, Any]],
    width_inches: float = PAGE_INCHES,
) -> Figure:
    """A panel a region, a row a group, a mark with its 95% interval a condition; grey and hollow where faces are few.

    Args:
        measure_name: what is shown, of MEASURES; its functions would not reach the process that draws.
        faces: the number of faces of each group.
        groups_by_condition: the figures of the groups, as `figures_by_column` has them, by the condition's label.
        width_inches: the figure's width.
    """
    measure = MEASURE[measure_name]
    across = min(len(measure.names), 2 if width_inches < NARROW_INCHES else 3)
    down = -(-len(measure.names) // across)
    named = max(1, int(width_inches * NAMES_ACROSS / PAGE_INCHES))
    panel = 0.7 + len(faces) * (0.14 + 0.1 * len(groups_by_condition))
    height = 0.2 * -(-len(groups_by_condition) // named) + down * panel
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, measure.names, strict=True):
        _draw_panel(axes, measure, name, faces, groups_by_condition)
    rows = [f"{fitted(group, width_inches / 2)} ({count:,})" for group, count in faces.items()]
    for axes in panels[::across]:
        axes.set_yticks(range(len(faces)), rows)
        for label, count in zip(axes.get_yticklabels(), faces.values(), strict=True):
            if count < FEW_FACES:
                label.set_color(SOFT)
    for axes in panels[-across:]:
        axes.set_xlabel(f"{measure.name}, %" if measure.factor != 1 else measure.name)
    name_above(figure, panels[0], named)
    return figure


def _draw_panel(
    axes: Axes,
    measure: Measure,
    name: str,
    faces: Mapping[str, int],
    groups_by_condition: Mapping[str, Mapping[str, Any]],
) -> None:
    if measure.name in LEVELS:
        axes.axvline(LEVELS[measure.name], **LEVEL)
    beside = np.linspace(-_WITHIN / 2, _WITHIN / 2, len(groups_by_condition) + 2)[1:-1]
    for number, (label, groups) in enumerate(groups_by_condition.items()):
        style = style_of(number)
        axes.plot([], [], linestyle="none", markersize=5, label=label, **style)
        for row, group in enumerate(faces):
            if (found := groups.get(group)) is None or found["value"][name] is None:
                continue
            is_few = found["faces"] < FEW_FACES
            colour, place = SOFT if is_few else style["color"], row + beside[number]
            low, high = found["interval"][name]
            if low is not None and high is not None:
                ends = [measure.factor * low, measure.factor * high]
                axes.plot(ends, [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            mark: dict[str, Any] = {**style, "color": colour, "markerfacecolor": "none" if is_few else colour}
            axes.plot(measure.factor * found["value"][name], place, markersize=5, **mark)
    axes.set_title(name, fontsize=9)
    axes.set_ylim(len(faces) - 0.5, -0.5)
    plain(axes)
