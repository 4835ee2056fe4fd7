"""The section of a report that shows figures by groups of faces (`report --by-column`)."""

from fertool.report.evidence import Evidence
from fertool.report.sections import Paragraph, Section
from fertool.runtime.hardware import choose_compute
from fertool.score.by_column import BY_COLUMN, FEW_FACES, differences_in_words, figures_by_column
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.gather import Gathered
from fertool.score.results.tables import groups
from fertool.score.suites.suite import Results


def column_sections(evidence: Evidence, column: str | None) -> list[Section]:
    """The section on a column's groups, from what classification, attention and causal have stored; none without.

    Attention is that of the view that most conditions are shown in. Raises UserError for a column that makes no groups.
    """
    stored = _stored(evidence) if column is not None else {}
    if column is None or not stored:
        return []
    data, tables = figures_by_column(
        {name: _results(evidence, found) for name, found in stored.items()}, column
    )
    views = [view.name for view in evidence.views if view.gathered is stored.get("attention")]
    faces = "; ".join(f"{name}: {count:,}" for name, count in data["groups"].items())
    lead = f"Faces: {faces} ({data['made']}). A group of fewer than {FEW_FACES} faces is greyed."
    lead += f" Maps: {views[0]}." if views else ""
    labels = {row.name: row.label for found in stored.values() for row in groups(found.scores)}
    paragraphs = [
        Paragraph(f"{labels[name]}:", differences_in_words(figures))
        for name, figures in data["conditions"].items()
    ]
    return [Section("by-column", f"By {data['column']}", lead, paragraphs, tables=tables)]


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
