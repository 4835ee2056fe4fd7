"""The figures of a report by name: each drawn at any width, for the page and for a paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.figure import Figure

from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence
from fertool.report.figures.confusion import confusion_figure
from fertool.report.figures.corruptions import corruptions_figure
from fertool.report.figures.curves import curves_figure
from fertool.report.figures.emotions import emotions_figure
from fertool.report.figures.guidance import (
    guidance_figure,
    lifts_figure,
    lifts_over_lambda,
    measures_over_lambda,
)
from fertool.report.figures.mean_heat import mean_heat_figure
from fertool.report.figures.regions import regions_figure
from fertool.report.figures.representation import depth_figure
from fertool.report.first_screen import MEASURES, Row
from fertool.report.mean_heat import mean_heat
from fertool.report.words import listed
from fertool.runtime.files import read_csv
from fertool.score.guidance.effects import Guidance
from fertool.score.results.tables import run_label


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn at a width in inches, here or in another process, and what it shows."""

    caption: str
    draw: Callable[[float], Figure]


def regions_drawing(evidence: Evidence, rows: Sequence[Row], measure: str) -> Drawing:
    """A measure of the six regions by condition, with the figures of all seeds."""
    rows = [row for row in rows if any(cell.is_known for cell in row.regions[measure].values())]
    seeds = {row.condition.name: _figures_by_seed(evidence, row, measure) for row in rows}
    level = "1 is a map that ignores the face. " if measure == "lift" else ""
    called = MEASURES[measure].partition(",")[0].capitalize()
    caption = f"{called} of each region with its 95% interval, each panel on a scale of its own. {level}"
    caption += "Small dots: seeds."
    if measure != "causal":
        caption += (
            " Hollow: not above a blob in the middle. Cross: the grid hides the region; do not read it."
        )
    # views hold the figures of all runs, which another process would be sent
    bare = [replace(row, view=None) for row in rows]
    return Drawing(caption, partial(regions_figure, bare, measure, seeds))


def _figures_by_seed(evidence: Evidence, row: Row, measure: str) -> list[list[float]]:
    """The six figures of each run of a row; none of a condition with one seed."""
    if measure == "causal":
        found = evidence.causal_weights_by_run(row.condition)
    else:
        known = evidence.stored(row.view.gathered, row.condition) if row.view is not None else []
        found = [list(run["overall"][measure].values()) for run in known if run["overall"]]
    return found if len(found) > 1 else []


def confusion_drawing(evidence: Evidence, condition: Condition) -> Drawing | None:
    """The confusion matrix of a condition's first run."""
    known = evidence.stored(evidence.suite("classification"), condition)
    if not known:
        return None
    return Drawing(
        f"{run_label(known[0])}: confusion matrix",
        partial(confusion_figure, known[0]["confusion"], evidence.classes),
    )


def emotions_drawing(evidence: Evidence, condition: Condition) -> Drawing | None:
    """Lift of the regions by emotion, of a condition in the view that it is shown in first."""
    view = evidence.main_view(condition)
    by_emotion = evidence.lifts_by_class(view, condition) if view else {}
    if view is None or not by_emotion:
        return None
    caption = f"{condition.name}: lift by emotion, {view.name}. In brackets: the interval holds 1."
    return Drawing(caption, partial(emotions_figure, by_emotion))


def corruptions_drawing(evidence: Evidence) -> Drawing | None:
    """Accuracy over the strength of each corruption, a line a condition."""
    found = evidence.suite("robustness")
    scored = {
        condition.name: known
        for condition in evidence.conditions
        if (known := evidence.stored(found, condition))
    }
    if not scored:
        return None
    caption = "Accuracy over the strength of each corruption, mean over seeds; strength 0 is the clean face."
    return Drawing(caption, partial(corruptions_figure, scored))


def depth_drawing(evidence: Evidence) -> Drawing | None:
    """Probes and CKA over depth, of the first run of each condition."""
    found = evidence.suite("representation")
    stages = {
        condition.name: known[0]["stages"]
        for condition in evidence.conditions
        if (known := evidence.stored(found, condition))
    }
    if not stages:
        return None
    caption = (
        "Linear probes after (solid) and before training (dashed), and CKA of each stage with itself before training, "
        "over depth, from the input at 0 to the head at 1; first seed of each condition."
    )
    return Drawing(caption, partial(depth_figure, stages))


def training_drawing(evidence: Evidence) -> Drawing | None:
    """Loss and accuracy over epochs, of the first run of each condition."""
    found = {condition.name: condition.runs[0] for condition in evidence.conditions}
    for run in found.values():
        evidence.workspace.require_intact(run.run_json, run.history_csv)
    histories = {name: read_csv(run.history_csv) for name, run in found.items() if run.history_csv.exists()}
    histories = {name: rows for name, rows in histories.items() if rows}
    if not histories:
        return None
    caption = "Train dashed (with augmentation and label smoothing), val solid; the dot is the chosen epoch."
    adopted = [condition.name for condition in evidence.conditions if condition.is_adopted]
    if adopted:
        caption += f" Adopted runs have no curve: {listed(adopted)}."
    return Drawing(caption, partial(curves_figure, histories))


def mean_heat_drawing(evidence: Evidence, condition: Condition) -> Drawing | None:
    """The mean heatmap of each emotion on the mean face, of a condition in the view that it is shown in first."""
    view, mean_face = evidence.main_view(condition), evidence.mean_face
    found = mean_heat(evidence, condition, view) if view is not None else {}
    heat_by_emotion = {emotion: heat for emotion, (heat, _) in found.items()}
    if view is None or mean_face is None or not heat_by_emotion:
        return None
    caption = f"{condition.name}: mean heatmap of each emotion, warped onto the mean face by landmarks, {view.name}."
    return Drawing(caption, partial(mean_heat_figure, mean_face.picture, heat_by_emotion))


def guidance_drawings(guidance: Guidance) -> list[Drawing]:
    """The measures of a sweep over lambda, and the lifts of the regions, each where two lambdas have it."""
    drawings = []
    if measures_over_lambda(guidance):
        caption = (
            "Over lambda, in %, with 95% intervals: accuracy; the background's share of the maps that are not "
            "empty, and of all where some are; their faithfulness (ROAD, higher is better); how far the answers, "
            "right or wrong, rest on the background (causal weight), its part of what they rest on (causal part), "
            "and how many change before another one; mCE, where faces were spoilt."
        )
        drawings.append(Drawing(caption, partial(guidance_figure, guidance)))
    if lifts_over_lambda(guidance):
        caption = (
            "Lift of the regions over lambda, a row an explainer, with 95% intervals: share of the map over share "
            "of the picture, 1 where the map does not care."
        )
        drawings.append(Drawing(caption, partial(lifts_figure, guidance)))
    return drawings


def paper_figures(evidence: Evidence, rows: Sequence[Row]) -> dict[str, Drawing]:
    """The figures by the names of their files."""
    shown = [row for row in rows if row.first or row.view is None]
    drawings: dict[str, Drawing | None] = {}
    for measure in MEASURES:
        if any(cell.is_known for row in shown for cell in row.regions[measure].values()):
            drawings[f"regions-{measure}"] = regions_drawing(evidence, shown, measure)
    for condition in evidence.most_accurate(evidence.conditions)[:1]:
        drawings["confusion"] = confusion_drawing(evidence, condition)
        drawings["emotions"] = emotions_drawing(evidence, condition)
        drawings["mean-heat"] = mean_heat_drawing(evidence, condition)
    drawings |= {
        "corruptions": corruptions_drawing(evidence),
        "depth": depth_drawing(evidence),
        "training": training_drawing(evidence),
    }
    for number, guidance in enumerate(evidence.guidance, 1):
        for part, drawing in enumerate(guidance_drawings(guidance), 1):
            drawings[f"guidance-{number}-{part}"] = drawing
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}
