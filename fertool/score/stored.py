"""Figures that were scored before: read back, and gathered over runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.explain.registry import parse_request
from fertool.score.subject import Columns, cluster_faces
from fertool.score.suites import SUITES, Asked, Suite
from fertool.score.tables import Scores
from fertool.summary import Table
from fertool.workspace import Run, Workspace, read_json


@dataclass(frozen=True)
class Gathered:
    """A suite's figures over runs, for one explainer and target where it has heatmaps."""

    suite: Suite
    asked: Asked
    scores: Scores
    tables: list[Table]


def gather_scores(workspace: Workspace, runs: Sequence[Run], split: str) -> list[Gathered]:
    """All suites that the runs have on disk for a split, in the order of SUITES."""
    clusters = cluster_faces(workspace.load_twin_groups(split))
    found: dict[tuple[str, str, str], list[tuple[Run, Path]]] = {}
    for run in runs:
        for suite in SUITES.values():
            pattern = f"*/*/{split}.json" if suite.of_heatmaps else f"{split}.json"
            for place in run.scored(suite.name, pattern):
                key = (place.parent.parent.name, place.parent.name) if suite.of_heatmaps else ("", "")
                found.setdefault((suite.name, *key), []).append((run, place))
    gathered = []
    for (name, explainer, target), places in sorted(
        found.items(), key=lambda item: (list(SUITES).index(item[0][0]), item[0][1:])
    ):
        suite = SUITES[name]
        asked = Asked(parse_request(explainer), target) if suite.of_heatmaps else Asked()
        scores = [read_json(place) | identity(run) for run, place in places]
        columns = {run.name: read_columns(place.with_suffix(".csv")) for run, place in places}
        _, tables = suite.tables(scores, columns, clusters, asked)
        gathered.append(Gathered(suite, asked, scores, tables))
    return gathered


def identity(run: Run, by: Sequence[str] = ("condition",)) -> dict[str, Any]:
    """What a table needs to know of a run beside its figures: its name, its row, its configuration."""
    record = run.config()
    fields = record["config"] | {
        key: value for key, value in record.items() if not isinstance(value, dict | list)
    }
    for field in by:
        if field not in fields:
            raise UserError(f"--by {field}: no such field in run.json; there are {', '.join(sorted(fields))}")
    return {
        "run": run.name,
        "group": ", ".join(str(fields[field]) for field in by),
        "config": record["config"],
    }


def read_columns(place: Path) -> Columns:
    """The columns of a suite's CSV; an empty cell is nan."""
    with place.open(encoding="utf-8") as handle:
        names = handle.readline().strip().split(",")
    values = np.genfromtxt(place, delimiter=",", skip_header=1, ndmin=2)
    return {name: values[:, column] for column, name in enumerate(names)}
