"""The section of a report that shows figures by groups of faces (`report --by-column`)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from fertool.report.drawings import Drawing
from fertool.report.evidence import Evidence
from fertool.report.figures.groups import groups_figure
from fertool.report.figures.style import PAGE_INCHES
from fertool.report.sections import Paragraph, Section, picture
from fertool.runtime.hardware import choose_compute
from fertool.score.by_column import (
    BY_COLUMN,
    FEW_FACES,
    MEASURE,
    differences_in_words,
    figures_by_column,
)
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.gather import Gathered
from fertool.score.results.tables import groups
from fertool.score.suites.suite import Results
from fertool.summary import Table

DRAWN = ("lift", "causal weight", "accuracy")  # the first that is known is drawn
MOST_DRAWN = 4  # conditions: marks of more are not told apart in a row


@dataclass(frozen=True)
class ByColumn:
    """The figures by groups of faces: for scripts, as tables and drawn; `view` names the maps', where there are any.

    `labels` are those of the conditions, by name.
    """

    data: dict[str, Any]
    tables: list[Table]
    labels: dict[str, str]
    view: str | None
    drawing: Drawing


def by_column(evidence: Evidence, column: str | None) -> ByColumn | None:
    """The figures by a column's groups, from what classification, attention and causal have stored; None without.

    Attention is that of the view that most conditions are shown in. Raises UserError for a column that makes no groups.
    """
    stored = _stored(evidence) if column is not None else {}
    if column is None or not stored:
        return None
    results = {name: _results(evidence, found) for name, found in stored.items()}
    data, tables = figures_by_column(results, column)
    views = [view.name for view in evidence.views if view.gathered is stored.get("attention")]
    labels = {row.name: row.label for found in stored.values() for row in groups(found.scores)}
    return ByColumn(data, tables, labels, views[0] if views else None, _drawing(evidence, data, labels))


def column_section(found: ByColumn) -> Section:
    """The section of the page that shows figures by groups of faces."""
    data = found.data
    faces = "; ".join(f"{name}: {count:,}" for name, count in data["groups"].items())
    lead = f"Faces: {faces} ({data['made']}). A group of fewer than {FEW_FACES} faces is greyed."
    lead += f" Maps: {found.view}." if found.view else ""
    paragraphs = [
        Paragraph(f"{found.labels[name]}:", differences_in_words(figures))
        for name, figures in data["conditions"].items()
    ]
    figures = [picture(found.drawing, PAGE_INCHES)]
    name = f"By {data['column']}"
    return Section("by-column", name, lead, paragraphs, figures, found.tables, shows_table=True)


def _drawing(evidence: Evidence, data: dict[str, Any], labels: dict[str, str]) -> Drawing:
    """The lifts by groups, else the causal weights, else the accuracy, of the most accurate conditions."""
    conditions = data["conditions"]
    measure = MEASURE[next(name for name in DRAWN if any(name in each for each in conditions.values()))]
    known = [each.name for each in evidence.most_accurate(evidence.conditions)]
    known = [name for name in known if measure.name in conditions.get(name, {})]
    shown = {labels[name]: conditions[name][measure.name]["groups"] for name in known[:MOST_DRAWN]}
    most = f" of the {len(shown)} most accurate of {len(known)} models" if len(known) > len(shown) else ""
    of = "" if measure.names == (measure.name,) else " of each region"
    level = "; 1 is a map that ignores the face" if measure.name == "lift" else ""
    caption = (
        f"{measure.name.capitalize()}{of} by {data['column']}{most}, with 95% intervals{level}. Groups of fewer than "
        f"{FEW_FACES} faces are grey and hollow. The figures are in the table 'by {data['column']} on "
        f"{evidence.split}: {measure.name}'."
    )
    return Drawing(caption, partial(groups_figure, measure.name, data["groups"], shown))


def _stored(evidence: Evidence) -> dict[str, Gathered]:
    """The stored figures of the suites that are shown by groups, by the suite's name."""
    views = [evidence.main_view(condition) for condition in evidence.conditions]
    shown = next((view.gathered for view in views if view is not None), None)
    found = {name: evidence.suite(name) if name != "attention" else shown for name in BY_COLUMN}
    return {name: gathered for name, gathered in sorted(found.items()) if gathered is not None}


def _results(evidence: Evidence, found: Gathered) -> Results:
    compute = choose_compute("cpu", "fp32")
    runs = [run for run in evidence.runs if run.name in found.columns]
    evaluated = [EvaluatedRun(evidence.workspace, run, evidence.split, compute) for run in runs]
    return Results(evaluated, found.scores, found.columns, found.settings)
