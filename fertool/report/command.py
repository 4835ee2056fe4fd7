"""`fertool report`: what was scored, as one self-contained page, and what a paper takes from it."""

import contextlib
from collections.abc import Iterator, Sequence

from fertool.errors import UserError
from fertool.explain.selection import select_runs
from fertool.report.answers import answer_all
from fertool.report.answers.answer import Answer
from fertool.report.by_column import ByColumn, by_column, column_section
from fertool.report.chance import ChanceLevels
from fertool.report.drawings import paper_figures
from fertool.report.evidence import Evidence
from fertool.report.export.figures import figures_begun
from fertool.report.export.files import write_files
from fertool.report.export.methods import methods_paragraphs
from fertool.report.export.references import as_bibtex, works_of
from fertool.report.export.tables import as_csv, as_tex, paper_tables
from fertool.report.first_screen import Row, first_screen
from fertool.report.gallery.gallery import make_gallery
from fertool.report.headline import headline
from fertool.report.page.render import render_page
from fertool.report.sections import sections_of
from fertool.report.settings import ReportSettings
from fertool.report.warnings import find_warnings
from fertool.runtime.worker_pool import WorkerPool, usable_cores
from fertool.score.gather import outdated_notes
from fertool.score.registry import SUITES
from fertool.score.results.conditions import without_repeats
from fertool.summary import Summary
from fertool.workspace import Run, Workspace

CONDITIONS_WORTH_A_PROCESS = 5  # the figures of fewer are drawn before it has started


def write_report(workspace: Workspace, settings: ReportSettings | None = None) -> Summary:
    """Write the page, tables and figures over the named runs, or over all that are scored on the split.

    Figures that are outdated are left out. Where runs have the same settings and seed, only the first by name counts.
    Raises UserError where nothing is scored, where a named run is not, and for a label of a run that is not shown.
    """
    settings = settings or ReportSettings()
    runs, notes = _scored_runs(workspace, settings.runs, settings.split)
    unknown = [name for name in settings.labels if name not in {run.name for run in runs}]
    if unknown:
        shown = ", ".join(run.name for run in runs)
        raise UserError(f"--labels {unknown[0]}=...: no such run in this report; there are {shown}")
    evidence = Evidence(workspace, settings.split, runs, dict(settings.labels))
    notes += outdated_notes(runs, evidence.outdated)
    chance = ChanceLevels(evidence)
    rows = first_screen(evidence, chance)
    files: dict[str, bytes] = {}
    with _pool_beside_the_page(settings, evidence) as pool:
        groups = by_column(evidence, settings.by_column)
        drawings = paper_figures(evidence, rows) if settings.writes("figures") else {}
        if groups is not None and settings.writes("figures"):
            drawings["by-column"] = groups.drawing
        figures = figures_begun(drawings, pool)
        if settings.writes("page"):
            files |= _page_files(evidence, chance, rows, notes, groups)
        if settings.writes("tables"):
            files |= dict(_table_files(evidence, chance, rows))
        files |= {f"figures/{name}": content for made in figures for name, content in made.items()}
    write_files(workspace, files, settings)
    return Summary(
        data={
            "report": str(workspace.report),
            "split": settings.split,
            "runs": [run.name for run in runs],
            "files": sorted(files),
        },
        notes=[_said(workspace, runs, files, settings), *notes],
    )


def _pool_beside_the_page(
    settings: ReportSettings, evidence: Evidence
) -> contextlib.AbstractContextManager[WorkerPool | None]:
    """A process that draws figures while this one makes the page, where that is sooner done."""
    worth_it = settings.writes("page") and settings.writes("figures")
    if worth_it and len(evidence.conditions) >= CONDITIONS_WORTH_A_PROCESS and usable_cores() > 1:
        return WorkerPool(1, "name fewer runs with --run")
    return contextlib.nullcontext()


def _said(
    workspace: Workspace, runs: Sequence[Run], files: dict[str, bytes], settings: ReportSettings
) -> str:
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''} on {settings.split}"
    if settings.writes("page"):
        return f"{workspace.report}: {count}"
    return f"{workspace.report.parent}: {len(files)} files, {count}"


def _page_files(
    evidence: Evidence,
    chance: ChanceLevels,
    rows: Sequence[Row],
    notes: Sequence[str],
    groups: ByColumn | None,
) -> dict[str, bytes]:
    answers = answer_all(evidence, chance)
    methods, works = methods_paragraphs(evidence), works_of(evidence)
    said = headline(evidence, chance)
    page = render_page(
        evidence,
        rows,
        [*sections_of(evidence, chance, rows), *([column_section(groups)] if groups else [])],
        make_gallery(evidence),
        answers,
        headline=said,
        warnings=find_warnings(evidence, chance),
        notes=notes,
        methods=methods,
        works=works,
    )
    texts = {
        "index.html": page,
        "answers.md": _answers_text(said, answers),
        "methods.md": "\n\n".join(["# Methods", *methods]) + "\n",
        "references.bib": as_bibtex(works),
    }
    return {name: text.encode() for name, text in texts.items()}


def _answers_text(said: str, answers: Sequence[Answer]) -> str:
    return "\n".join(["# Where do the models look?", "", said, "", *(answer.markdown for answer in answers)])


def _table_files(
    evidence: Evidence, chance: ChanceLevels, rows: Sequence[Row]
) -> Iterator[tuple[str, bytes]]:
    for name, table in paper_tables(evidence, chance, rows).items():
        yield f"tables/{name}.csv", as_csv(table).encode()
        yield f"tables/{name}.tex", as_tex(table, name).encode()


def _scored_runs(workspace: Workspace, names: Sequence[str], split: str) -> tuple[list[Run], list[str]]:
    """The runs to report, and notes on those that are left out."""
    workspace.check_split(split)
    chosen, changed = [], []
    for run in select_runs(workspace, names):
        if run.name in names:
            workspace.require_own_faces(run)
        if reason := workspace.changed_faces(run):
            changed.append(f"{run.name}: left out: {reason}")
        else:
            chosen.append(run)
    scored = [run for run in chosen if any(suite.stored(run, split) for suite in SUITES.values())]
    # a run that is named in full must be scored; a condition or a glob takes those of its runs that are
    missing = [run.name for run in chosen if run not in scored and run.name in names]
    if not scored and changed:
        raise UserError(f"{workspace.root}: {changed[0]}")
    if not scored or missing:
        which = f"run {missing[0]} is not" if missing else "no run is"
        raise UserError(f"{workspace.root}: {which} scored on '{split}'; run 'fertool score' first")
    runs, notes = without_repeats(scored)
    return runs, [*changed, *notes]
