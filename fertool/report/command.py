"""`fertool report`: what was scored, as one self-contained page."""

from collections.abc import Sequence

from fertool.errors import UserError
from fertool.report.answers import answer_all
from fertool.report.chance import ChanceLevels
from fertool.report.evidence import Evidence
from fertool.report.first_screen import first_screen
from fertool.report.gallery.gallery import make_gallery
from fertool.report.headline import headline
from fertool.report.page.render import render_page
from fertool.report.sections import sections_of
from fertool.report.settings import ReportSettings
from fertool.report.warnings import find_warnings
from fertool.runtime.files import replacing
from fertool.score.gather import outdated_notes
from fertool.score.registry import SUITES
from fertool.score.results.conditions import without_repeats
from fertool.summary import Summary
from fertool.workspace import Run, Workspace


def write_report(workspace: Workspace, settings: ReportSettings | None = None) -> Summary:
    """Write the page over the named runs, or over all that are scored on the split; outdated figures are left out.

    Of runs with the same settings and seed only the first by name counts. Raises UserError where nothing is
    scored, or a named run is not.
    """
    settings = settings or ReportSettings()
    runs, notes = _scored_runs(workspace, settings.runs, settings.split)
    notes += outdated_notes(workspace, runs, settings.split)
    evidence = Evidence(workspace, settings.split, runs, dict(settings.labels))
    chance = ChanceLevels(evidence)
    rows = first_screen(evidence, chance)
    page = render_page(
        evidence,
        rows,
        sections_of(evidence, rows),
        make_gallery(evidence),
        answer_all(evidence, chance),
        headline=headline(evidence, chance),
        warnings=find_warnings(evidence, chance),
        notes=notes,
    )
    with replacing(workspace.report) as handle:
        handle.write(page.encode())
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    return Summary(
        data={
            "report": str(workspace.report),
            "split": settings.split,
            "runs": [run.name for run in runs],
        },
        notes=[f"{workspace.report}: {count} on {settings.split}", *notes],
    )


def _scored_runs(workspace: Workspace, names: Sequence[str], split: str) -> tuple[list[Run], list[str]]:
    """The runs to report, and notes on those that are left out."""
    workspace.check_split(split)
    chosen = [workspace.run(name) for name in names] if names else workspace.runs()
    scored = [run for run in chosen if any(suite.stored(run, split) for suite in SUITES.values())]
    missing = [run.name for run in chosen if run not in scored]
    if not scored or (names and missing):
        which = f"run {missing[0]} is not" if names and missing else "no run is"
        raise UserError(f"{workspace.root}: {which} scored on '{split}'; run 'fertool score' first")
    return without_repeats(scored)
