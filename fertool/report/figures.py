"""The report's figures: matplotlib, as inline SVG (lines) or PNG (pictures)."""

import base64
import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fertool.explain.overlay import png_bytes
from fertool.masks.regions import REGIONS
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

# Okabe and Ito's palette, told apart by colour-blind readers and in print
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^D"
LEVEL = {"color": "#b3b3b8", "linewidth": 0.8, "zorder": 0}  # a line to measure others by

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
PANELS_ACROSS = 3
NAMES_ACROSS, MASKS_ACROSS = 4, 2  # in the legends

DOTS_PER_INCH = 110  # of what is no SVG


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element, the same bytes for the same figure."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "fertool", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def as_png(figure: Figure) -> str:
    """The figure as an HTML image with its data inside."""
    data = base64.b64encode(png_bytes(figure, DOTS_PER_INCH)).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def shares_figure(attention: list[dict[str, Any]]) -> Figure:
    """Bars of each region's share, a colour a run, with its area and ceiling as marks."""
    rows = -(-(len(attention) + 2) // NAMES_ACROSS)
    figure = Figure(figsize=(9, 3 + 0.2 * rows), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(attention)
    for number, run in enumerate(attention):
        at = np.arange(len(REGIONS)) + (number - (len(attention) - 1) / 2) * width
        figures = run["overall"]
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        axes.bar(at, _in_percent(figures["share"]), width * 0.92, color=colour, label=run["run"])
        axes.scatter(at, _in_percent(figures["area"]), marker="_", s=900 * width, color="black",
                     linewidths=2, label="area" if number == 0 else None)  # fmt: skip
        axes.scatter(at, _in_percent(run["ceiling"]), marker="v", s=30, facecolor="white",
                     edgecolor="black", label="ceiling" if number == 0 else None)  # fmt: skip
    axes.set_xticks(range(len(REGIONS)), REGIONS)
    axes.set_ylabel("share of the heatmap, %")
    axes.set_ylim(0, 105)
    _name_above(figure, axes, NAMES_ACROSS)
    _plain(axes)
    return figure


def _in_percent(of_region: dict[str, float]) -> list[float]:
    return [100 * of_region[region] for region in REGIONS]


def curves_figure(histories: dict[str, list[dict[str, str]]]) -> Figure:
    """Loss and accuracy over epochs, a colour a run; train dashed, val solid, the chosen epoch marked."""
    rows_of_names = -(-len(histories) // NAMES_ACROSS)
    figure = Figure(figsize=(9, 3.2 + 0.2 * rows_of_names), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, measure, scale in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        for number, (name, rows) in enumerate(histories.items()):
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            epochs = [int(row["epoch"]) for row in rows]
            val = [scale * float(row[f"val_{measure}"]) for row in rows]
            train = [scale * float(row[f"train_{measure}"]) for row in rows]
            axes.plot(epochs, train, "--", color=colour, linewidth=1)
            chosen = max(index for index, row in enumerate(rows) if row["best"] == "1")
            marker = MARKERS[number // len(LINE_COLOURS) % len(MARKERS)]  # tells runs of one colour apart
            axes.plot(epochs, val, color=colour, label=name, marker=marker, markevery=[chosen])
        axes.set_xlabel("epoch")
        axes.set_ylabel(measure if scale == 1 else f"{measure}, %")
        _plain(axes)
    _name_above(figure, panels[0], NAMES_ACROSS)
    return figure


def confusion_figure(matrix: list[list[int]], classes: list[str]) -> Figure:
    """The confusion matrix, coloured and labelled by the share of each true class, with counts below."""
    counts = np.array(matrix)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(counts.shape):
        axes.text(
            predicted, true, f"{shares[true, predicted]:.0%}\n{counts[true, predicted]}",
            ha="center", va="center", fontsize=7,
            color="white" if shares[true, predicted] > 0.55 else "black",
        )  # fmt: skip
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def guidance_figure(guidance: Guidance) -> Figure | None:
    """What a sweep came to over lambda, a panel a measure, with 95% intervals; shuffled masks dashed.

    None where no measure is known of two conditions.
    """
    shown = [
        measure
        for kind in GUIDANCE_KINDS
        for measure in guidance.shown
        if measure.kind is kind and _is_curve(guidance, measure)
    ]
    if not shown:
        return None
    rows = -(-len(shown) // PANELS_ACROSS)
    figure = Figure(figsize=(9, 0.3 + 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, PANELS_ACROSS, squeeze=False, sharex=True).ravel()
    for axes, measure in zip(panels, shown, strict=False):
        _draw_over_lambda(axes, guidance, measure)
        if axes.get_ylim()[0] < 0:
            axes.axhline(0, **LEVEL)
        axes.set_title(measure.name, fontsize=9)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[: len(shown)][-PANELS_ACROSS:]:
        axes.set_xlabel("lambda")
        axes.tick_params(labelbottom=True)
    _name_above(figure, panels[0], MASKS_ACROSS)
    return figure


def lifts_figure(guidance: Guidance) -> Figure | None:
    """The lift of each region over lambda, a row an explainer, with 95% intervals.

    None where none is known of two conditions.
    """
    lifts = {
        (measure.of, measure.region): measure
        for measure in guidance.measures
        if measure.kind is LIFT and _is_curve(guidance, measure)
    }
    if not lifts:
        return None
    explainers = list(dict.fromkeys(of for of, _ in lifts))
    figure = Figure(figsize=(9, 0.5 + 1.6 * len(explainers)), layout="constrained")
    panels = figure.subplots(len(explainers), len(REGIONS), squeeze=False, sharex=True, sharey="row")
    for of, row in zip(explainers, panels, strict=True):
        for region, axes in zip(REGIONS, row, strict=True):
            if (of, region) in lifts:
                _draw_over_lambda(axes, guidance, lifts[of, region])
            axes.axhline(1, **LEVEL)
        row[0].set_ylabel(of, fontsize=9)
    for region, first, last in zip(REGIONS, panels[0], panels[-1], strict=True):
        first.set_title(region, fontsize=9)
        last.set_xlabel("lambda")
    _name_above(figure, panels[0][0], MASKS_ACROSS)
    return figure


def _is_curve(guidance: Guidance, measure: Measure) -> bool:
    """Whether it is known of two conditions; an explainer may have explained the networks of one alone."""
    return sum(np.isfinite(of.figures[measure.name].value) for of in guidance.outcomes) > 1


def _name_above(figure: Figure, axes: Axes, across: int) -> None:
    """The legend of one of a figure's axes above them all: within, it would lie on bars and marks."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", frameon=False, fontsize=8,
                  ncols=across)  # fmt: skip


def _draw_over_lambda(axes: Axes, guidance: Guidance, measure: Measure) -> None:
    """A measure's curve by each kind of masks, with its intervals."""
    weights = sorted({of.condition.weight for of in guidance.outcomes})
    kind = measure.kind
    styles = ((OWN, "-", "o", 0.06), (SHUFFLED, "--", "s", -0.06))
    for colour, (masks, line, marker, aside) in zip(LINE_COLOURS, styles, strict=False):
        if all(of.condition.masks != masks for of in guidance.outcomes):
            continue
        curve = [of for of in guidance.outcomes if of.condition.masks in (None, masks)]
        # beside each other but where they are the same runs
        at = [weights.index(of.condition.weight) + aside * bool(of.condition.masks) for of in curve]
        figures = [of.figures[measure.name] for of in curve]
        middle, low, high = (
            kind.scale * np.array([getattr(of, limit) for of in figures])
            for limit in ("value", "low", "high")
        )
        reach = np.clip([middle - low, high - middle], 0, None)  # limits that differ by rounding
        axes.errorbar(at, middle, reach, color=colour, linestyle=line, marker=marker,
                      markersize=4, linewidth=1.2, capsize=2, label=f"{masks} masks")  # fmt: skip
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.tick_params(labelsize=8)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
