"""`fertool report`: what was scored, as one self-contained page."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np

import fertool
from fertool.errors import UserError
from fertool.explain.explainer import rectify
from fertool.report.figures import as_png, as_svg, confusion_figure, curves_figure, shares_figure
from fertool.report.gallery import GalleryRow, draw_lots, gallery_figure
from fertool.score.tables import attention_tables, classification_tables
from fertool.summary import Greyed, Summary
from fertool.workspace import Run, Workspace, read_csv, read_json, replacing

FACES_PER_CLASS = 2


def write_report(workspace: Workspace, *, runs: Sequence[str] = (), split: str = "test") -> Summary:
    """Write the page over the named runs, or over all that are scored on `split`.

    Raises UserError where nothing is scored, or a named run is not.
    """
    dataset = workspace.dataset()
    workspace.check_split(split)
    chosen = [workspace.run(name) for name in runs] if runs else workspace.runs()
    scored = [run for run in chosen if run.scores("classification", split).exists()]
    missing = [run.name for run in chosen if run not in scored]
    if not scored or (runs and missing):
        which = f"run {missing[0]} is" if runs and missing else "no run is"
        raise UserError(f"{workspace.root}: {which} scored on '{split}'; run 'fertool score' first")

    classification = [read_json(run.scores("classification", split)) for run in scored]
    attention = _attention_by_explainer(scored, split)
    histories = {run.name: read_csv(run.history_csv) for run in scored if run.history_csv.exists()}
    page = _template().render(
        version=fertool.__version__,
        dataset=dataset,
        split=split,
        runs=[run.config() for run in scored],
        classification=classification_tables(classification),
        confusions=[
            (scores["run"], as_svg(confusion_figure(scores["confusion"], dataset["classes"])))
            for scores in classification
        ],
        curves=as_svg(curves_figure(histories)) if histories else "",
        attention=[
            {
                "tables": attention_tables(scores),
                "shares": as_svg(shares_figure([run for run in scores if run["overall"]])),
                "gallery": _gallery(workspace, scores, target, split, dataset["classes"]),
            }
            for (_, target), scores in attention.items()
        ],
    )
    with replacing(workspace.report) as handle:
        handle.write(page.encode())
    return Summary(
        data={"report": str(workspace.report), "split": split, "runs": [run.name for run in scored]},
        notes=[f"{workspace.report}: {len(scored)} run{'s' if len(scored) > 1 else ''} on {split}"],
    )


def _attention_by_explainer(runs: list[Run], split: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(explainer, target as asked for) -> the scores of the runs: one explainer a table."""
    scores: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        for path in run.attention_scores(split):
            scores[path.parent.parent.name, path.parent.name].append(read_json(path))
    return dict(sorted(scores.items()))


def _gallery(
    workspace: Workspace, scores: list[dict[str, Any]], target: str, split: str, classes: list[str]
) -> str:
    labels = workspace.load_labels(split)
    rows = draw_lots(labels, len(classes), FACES_PER_CLASS)
    of_runs = []
    for of in scores:
        run = workspace.run(of["run"])
        heatmaps = np.load(run.heatmaps(of["explainer"], target, split), mmap_mode="r")[rows]
        with np.load(run.predictions(split)) as stored:
            predicted = stored["logits"][rows].argmax(axis=1)
        of_runs.append(GalleryRow(run.name, rectify(heatmaps, of["negatives"]), predicted))
    faces, region_maps = workspace.load_faces(split)[rows], workspace.load_region_maps(split)[rows]
    return as_png(gallery_figure(faces, region_maps, labels[rows], classes, of_runs))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fertool.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["greyed"] = lambda cell: isinstance(cell, Greyed)
    return environment.get_template("page.html")
