"""Guidance over lambda: what a sweep came to, with its placebo."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fertool.masks.regions import REGIONS
from fertool.report.figures.style import LEVEL, PAGE_INCHES, SERIES, name_above, plain
from fertool.score.guidance.effects import (
    ACCURACY,
    CAUSAL_PART,
    CAUSAL_WEIGHT,
    CORRUPTION_ERROR,
    LIFT,
    ROAD,
    SHARE,
    SHARE_OF_ALL,
    SWAP_CHANGED,
    Guidance,
    Measure,
)
from fertool.score.guidance.sweeps import OWN, SHUFFLED

# of the panels over lambda; lifts have a figure of their own
GUIDANCE_KINDS = (
    ACCURACY,
    SHARE,
    SHARE_OF_ALL,
    ROAD,
    CAUSAL_WEIGHT,
    CAUSAL_PART,
    SWAP_CHANGED,
    CORRUPTION_ERROR,
)
PANELS_ACROSS = 3  # at most
PANEL_INCHES = 1.7  # of a panel's width at least
WIDE_INCHES = 6.0  # from it on all regions stand side by side
MASKS_ACROSS = 2  # in the legend


def measures_over_lambda(guidance: Guidance) -> list[Measure]:
    """The measures that have a panel over lambda: those that are known of two conditions."""
    return [
        measure
        for kind in GUIDANCE_KINDS
        for measure in guidance.shown
        if measure.kind == kind and _is_curve(guidance, measure)
    ]


def lifts_over_lambda(guidance: Guidance) -> dict[tuple[str, str], Measure]:
    """The lifts that are known of two conditions, by explainer and region."""
    return {
        (measure.variant, str(measure.region)): measure
        for measure in guidance.measures
        if measure.kind == LIFT and _is_curve(guidance, measure)
    }


def guidance_figure(guidance: Guidance, width_inches: float = PAGE_INCHES) -> Figure:
    """The outcome of a sweep over lambda, a panel for each of `measures_over_lambda`; shuffled masks dashed."""
    shown = measures_over_lambda(guidance)
    across = min(PANELS_ACROSS, max(1, int(width_inches / PANEL_INCHES)))
    rows = -(-len(shown) // across)
    figure = Figure(figsize=(width_inches, 0.3 + 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, across, squeeze=False, sharex=True).ravel()
    for axes, measure in zip(panels, shown, strict=False):
        _draw_over_lambda(axes, guidance, measure)
        if axes.get_ylim()[0] < 0:
            axes.axhline(0, **LEVEL)
        axes.set_title(measure.name, fontsize=9)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[: len(shown)][-across:]:
        axes.set_xlabel("lambda")
        axes.tick_params(labelbottom=True)
    name_above(figure, panels[0], MASKS_ACROSS)
    return figure


def lifts_figure(guidance: Guidance, width_inches: float = PAGE_INCHES) -> Figure:
    """The lift of each region over lambda, an explainer below the other, with 95% intervals."""
    lifts = lifts_over_lambda(guidance)
    explainers = list(dict.fromkeys(explainer for explainer, _ in lifts))
    across = len(REGIONS) if width_inches >= WIDE_INCHES else len(REGIONS) // 2
    down = len(REGIONS) // across * len(explainers)
    figure = Figure(figsize=(width_inches, 0.5 + 1.6 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey="row")
    wanted = [(explainer, region) for explainer in explainers for region in REGIONS]
    for (explainer, region), axes in zip(wanted, panels.ravel(), strict=True):
        if (explainer, region) in lifts:
            _draw_over_lambda(axes, guidance, lifts[explainer, region])
        axes.axhline(1, **LEVEL)
        axes.set_title(region, fontsize=9)
        if region == REGIONS[0]:
            axes.set_ylabel(explainer, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("lambda")
    name_above(figure, panels[0][0], MASKS_ACROSS)
    return figure


def _is_curve(guidance: Guidance, measure: Measure) -> bool:
    """Whether it is known of two conditions; an explainer may have explained the networks of one alone."""
    return sum(np.isfinite(outcome.figures[measure.name].value) for outcome in guidance.outcomes) > 1


def _draw_over_lambda(axes: Axes, guidance: Guidance, measure: Measure) -> None:
    """A measure's curve by each kind of masks, with its intervals."""
    weights = sorted({outcome.condition.weight for outcome in guidance.outcomes})
    kind = measure.kind
    styles = ((OWN, "-", "o", 0.06), (SHUFFLED, "--", "s", -0.06))
    for colour, (masks, line, marker, aside) in zip(SERIES, styles, strict=False):
        if all(outcome.condition.masks != masks for outcome in guidance.outcomes):
            continue
        curve = [outcome for outcome in guidance.outcomes if outcome.condition.masks in (None, masks)]
        # beside each other but where they are the same runs
        at = [
            weights.index(outcome.condition.weight) + aside * bool(outcome.condition.masks)
            for outcome in curve
        ]
        figures = [outcome.figures[measure.name] for outcome in curve]
        middle, low, high = (
            kind.scale * np.array([getattr(estimate, limit) for estimate in figures])
            for limit in ("value", "low", "high")
        )
        reach = np.clip([middle - low, high - middle], 0, None)  # limits that differ by rounding
        axes.errorbar(at, middle, reach, color=colour, linestyle=line, marker=marker,
                      markersize=4, linewidth=1.2, capsize=2, label=f"{masks} masks")  # fmt: skip
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.tick_params(labelsize=8)
    plain(axes)
