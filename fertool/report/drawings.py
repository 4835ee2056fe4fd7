"""The figures of a report by name: each drawn at any width, for the page and for a paper."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence
from fertool.report.figures.confusion import confusion_figure
from fertool.report.figures.corruptions import corruptions_figure
from fertool.report.figures.curves import curves_figure
from fertool.report.figures.emotions import emotions_figure
from fertool.report.figures.regions import regions_figure
from fertool.report.figures.representation import depth_figure
from fertool.report.first_screen import MEASURES, Row
from fertool.report.words import listed
from fertool.runtime.files import read_csv
from fertool.score.results.tables import run_label


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn at a width in inches, and what it shows."""

    caption: str
    draw: Callable[[float], Figure]


def regions_drawing(rows: Sequence[Row], measure: str, seeds: dict[str, list[list[float]]]) -> Drawing:
    """A measure of the six regions by condition."""
    level = "1 is a map that ignores the face. " if measure == "lift" else ""
    called = MEASURES[measure].partition(",")[0].capitalize()
    caption = (
        f"{called} of each region with its 95% interval, each panel on a scale of its own. {level}Small dots: seeds. "
        "Hollow: not above a blob in the middle. Cross: the grid hides the region; do not read it."
    )
    return Drawing(caption, lambda width: regions_figure(rows, measure, seeds, width))


def seeds_of_measure(scores: Sequence[Mapping[str, Any]], measure: str) -> dict[str, list[list[float]]]:
    """The six figures of each run, by condition, of conditions with several seeds."""
    found: dict[str, list[list[float]]] = {}
    for run in scores:
        if run["overall"]:
            found.setdefault(run["group"], []).append(list(run["overall"][measure].values()))
    return {name: run_figures for name, run_figures in found.items() if len(run_figures) > 1}


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
        "over depth; first seed of each condition."
    )
    return Drawing(caption, partial(depth_figure, stages))


def training_drawing(evidence: Evidence) -> Drawing | None:
    """Loss and accuracy over epochs, of the first run of each condition."""
    found = {condition.name: condition.runs[0].history_csv for condition in evidence.conditions}
    histories = {name: read_csv(path) for name, path in found.items() if path.exists()}
    histories = {name: rows for name, rows in histories.items() if rows}
    if not histories:
        return None
    caption = "Train dashed (with augmentation and label smoothing), val solid; the dot is the chosen epoch."
    adopted = [condition.name for condition in evidence.conditions if condition.is_adopted]
    if adopted:
        caption += f" Adopted runs have no curve: {listed(adopted)}."
    return Drawing(caption, partial(curves_figure, histories))


def paper_figures(evidence: Evidence, rows: Sequence[Row]) -> dict[str, Drawing]:
    """The figures by the names of their files."""
    shown = [row for row in rows if row.first or row.view is None]
    drawings: dict[str, Drawing | None] = {}
    for measure in MEASURES:
        if any(cell.is_known for row in shown for cell in row.regions[measure].values()):
            drawings[f"regions-{measure}"] = regions_drawing(shown, measure, {})
    for condition in evidence.most_accurate(evidence.conditions)[:1]:
        drawings["confusion"] = confusion_drawing(evidence, condition)
        drawings["emotions"] = emotions_drawing(evidence, condition)
    drawings |= {
        "corruptions": corruptions_drawing(evidence),
        "depth": depth_drawing(evidence),
        "training": training_drawing(evidence),
    }
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}
