"""`fertool report`: what was scored, as one self-contained page."""

from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np

import fertool
from fertool.errors import UserError
from fertool.explain.explainer import rectify
from fertool.explain.gallery import draw_gallery, draw_lots
from fertool.report.figures import (
    as_png,
    as_svg,
    confusion_figure,
    curves_figure,
    guidance_figure,
    lifts_figure,
    shares_figure,
)
from fertool.runtime.files import read_csv, replacing
from fertool.score.gather import Gathered, gather_scores, outdated_notes
from fertool.score.guidance.effects import Guidance, gather_guidance
from fertool.score.guidance.tables import guidance_tables
from fertool.score.guidance.verdict import verdicts_of
from fertool.score.registry import SUITES
from fertool.score.results.conditions import without_repeats
from fertool.summary import Greyed, Summary
from fertool.workspace import Run, Workspace


def write_report(workspace: Workspace, *, runs: Sequence[str] = (), split: str = "test") -> Summary:
    """Write the page over the named runs, or over all that are scored on `split`; outdated figures are left out.

    Of runs with the same settings and seed only the first by name counts. Raises UserError where nothing is
    scored, or a named run is not.
    """
    dataset = workspace.dataset()
    workspace.check_split(split)
    chosen = [workspace.run(name) for name in runs] if runs else workspace.runs()
    scored = [run for run in chosen if any(suite.stored(run, split) for suite in SUITES.values())]
    missing = [run.name for run in chosen if run not in scored]
    if not scored or (runs and missing):
        which = f"run {missing[0]} is not" if runs and missing else "no run is"
        raise UserError(f"{workspace.root}: {which} scored on '{split}'; run 'fertool score' first")

    scored, notes = without_repeats(scored)
    notes += outdated_notes(workspace, scored, split)
    gathered = gather_scores(workspace, scored, split)
    pictured = _first_seeds(scored)
    histories = {
        run.name: read_csv(run.history_csv)
        for run in scored
        if run.name in pictured and run.history_csv.exists()
    }
    page = _template().render(
        version=fertool.__version__,
        dataset=dataset,
        split=split,
        notes=notes,
        runs=[run.config() for run in scored],
        sections=[_section(workspace, of, split, dataset["classes"]) for of in gathered],
        pictured=pictured if len(pictured) < len(scored) else [],
        guidance=[_guidance_section(of) for of in gather_guidance(workspace, scored, split)],
        curves=as_svg(curves_figure(histories)) if histories else "",
    )
    with replacing(workspace.report) as handle:
        handle.write(page.encode())
    return Summary(
        data={"report": str(workspace.report), "split": split, "runs": [run.name for run in scored]},
        notes=[f"{workspace.report}: {len(scored)} run{'s' if len(scored) > 1 else ''} on {split}", *notes],
    )


def _first_seeds(runs: Sequence[Run]) -> list[str]:
    """The runs that pictures are of, one a condition: of forty seeds they would be a wall."""
    first: dict[str, tuple[int, str]] = {}
    for run in runs:
        record = run.config()
        of_run = (record["config"]["seed"], run.name)
        first[record["condition"]] = min(first.get(record["condition"], of_run), of_run)
    return [run.name for run in runs if run.name in {name for _, name in first.values()}]


def _section(workspace: Workspace, of: Gathered, split: str, classes: list[str]) -> dict[str, Any]:
    """A suite's part of the page: its first table, figures of the first seeds, and the tables that are folded away."""
    pictured = _first_seeds([workspace.run(run["run"]) for run in of.scores])
    scores = [run for run in of.scores if run["run"] in pictured]
    section: dict[str, Any] = {"suite": of.suite.name, "tables": of.tables, "figures": [], "gallery": ""}
    if of.suite.name == "classification":
        section["figures"] = [
            (f"{run['run']}: confusion matrix", as_svg(confusion_figure(run["confusion"], classes)))
            for run in scores
        ]
    if of.suite.name == "attention":
        shown = [run for run in scores if run["overall"]]
        section["figures"] = [("", as_svg(shares_figure(shown)))] if shown else []
        names = [run["run"] for run in scores]
        section["gallery"] = _gallery(workspace, of, names, split) if names else ""
    return section


def _guidance_section(of: Guidance) -> dict[str, Any]:
    figure, lifts = guidance_figure(of), lifts_figure(of)
    return {
        "name": of.sweep.name,
        "verdicts": verdicts_of(of),
        "figure": as_svg(figure) if figure else "",
        "lifts": as_svg(lifts) if lifts else "",
        "tables": guidance_tables(of),
    }


def _gallery(workspace: Workspace, of: Gathered, names: Sequence[str], split: str) -> str:
    request = of.settings.request
    rows = draw_lots(workspace.load_labels(split), len(workspace.dataset()["classes"]))
    columns = []
    for run in map(workspace.run, names):
        path = run.heatmaps(request.key, of.settings.target, split)
        if not path.exists():  # scores outlive the maps, which take much room
            continue
        heatmaps = np.load(path, mmap_mode="r")[rows]
        columns.append((run.name, run, rectify(heatmaps, request.explainer.negatives)))
    return as_png(draw_gallery(workspace, split, rows, columns, faces_across=True)) if columns else ""


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fertool.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["greyed"] = lambda cell: isinstance(cell, Greyed)
    return environment.get_template("page.html")
