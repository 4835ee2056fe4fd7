"""`fertool score`: predictions and heatmaps of runs -> figures, suite by suite."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.explain.registry import DEFAULT_EXPLAINER, parse_request
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.hardware import choose_compute
from fertool.masks.regions import REGIONS
from fertool.score.attention_tables import CONTRASTS
from fertool.score.stored import identity, read_columns
from fertool.score.subject import Columns, Subject
from fertool.score.suites import SUITES, Asked, Suite
from fertool.summary import Summary, Table
from fertool.workspace import Workspace, read_json, write_csv, write_json

DEFAULT_SUITES = ("classification", "attention")


def score(
    workspace: Workspace,
    explainer: str = DEFAULT_EXPLAINER,
    *,
    suites: Sequence[str] = DEFAULT_SUITES,
    runs: Sequence[str] = (),
    split: str = "test",
    target: str = "predicted",
    by: Sequence[str] = ("condition",),
    grid: int | None = None,
    jitter: float = 0.0,
    contrasts: Sequence[str] = CONTRASTS,
    device: str = "auto",
    precision: str = "fp32",
    force: bool = False,
) -> Summary:
    """Score runs on a split, one explainer a call; several runs become one table.

    `suites` are names of SUITES, or `all`. Without `runs`, all finished runs that the explainer can explain;
    heatmaps that are missing are made first. `by` names the fields of run.json whose values make a row.
    `grid` compares models on a common pooled grid; `jitter` moves landmarks by that part of the inter-ocular
    distance; `contrasts` are the regions whose differences are tested. Raises UserError for names that are
    none, and where faces, masks or runs are missing.
    """
    request = parse_request(explainer)
    asked = Asked(request, target, grid=grid, jitter=jitter, contrasts=tuple(contrasts))
    _check(workspace, split, asked)
    compute = choose_compute(device, precision)
    subjects = [Subject(workspace, run, split, compute) for run in explainable_runs(workspace, request, runs)]
    workspace.load_region_maps(split)  # an early word where masks are missing
    data: dict[str, Any] = {"split": split}
    tables: list[Table] = []
    for suite in _chosen(suites):
        scores, columns = [], {}
        for subject in subjects:
            figures, columns[subject.run.name] = _kept(subject, suite, asked, force)
            scores.append(figures | identity(subject.run, by))
        data[suite.name] = scores
        compared, suite_tables = suite.tables(scores, columns, subjects[0].clusters, asked)
        data |= {f"{suite.name}_{name}": figures for name, figures in compared.items()}
        tables += suite_tables
    return Summary(data=data, tables=tables)


def _check(workspace: Workspace, split: str, asked: Asked) -> None:
    workspace.check_split(split)
    classes = workspace.dataset()["classes"]
    check_target(asked.target, classes)
    if asked.target == "all":
        raise UserError("--target all: scores are of one target; name a class, or predicted or label")
    for region in asked.contrasts:
        if region not in REGIONS:
            raise UserError(f"--contrasts {region}: no such region; there are {', '.join(REGIONS)}")
    if asked.grid is not None and asked.grid < 1:
        raise UserError(f"--grid {asked.grid}: must be 1 or more cells a side")
    if asked.jitter < 0:
        raise UserError(f"--jitter {asked.jitter}: must be 0 or more inter-ocular distances")


def _chosen(names: Sequence[str]) -> list[Suite]:
    for name in names:
        if name != "all" and name not in SUITES:
            raise UserError(f"--suite {name}: no such suite; there are {', '.join(SUITES)}, all")
    return [suite for name, suite in SUITES.items() if "all" in names or name in names]


def _kept(subject: Subject, suite: Suite, asked: Asked, force: bool) -> tuple[dict[str, Any], Columns]:
    """A run's figures and columns, made now unless those stored are up to date."""
    run, workspace = subject.run, subject.workspace
    settings = {"run": run.name, "split": subject.split, **suite.settings(asked)}
    key = (asked.request.key, asked.target) if suite.of_heatmaps else (None, None)
    place = run.scores(suite.name, subject.split, *key)
    made_from = workspace.made_from(suite.revision, settings, suite.inputs(subject, asked))
    if force or not workspace.is_current(place, made_from, [place.with_suffix(".csv")]):
        figures, columns = suite.score(subject, asked)
        rows = zip(range(len(subject.labels)), *(_cells(values) for values in columns.values()), strict=True)
        write_csv(place.with_suffix(".csv"), ["row", *columns], rows)
        write_json(place, {**settings, **figures, "made_from": made_from})
    return read_json(place), read_columns(place.with_suffix(".csv"))


def _cells(values: np.ndarray) -> list[Any]:
    """Numbers as they stand in a CSV: six digits, and nothing where there is none."""
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else f"{value:.6g}" for value in values]
    return values.tolist()
