"""Scores as tables, shown alike on the terminal and in the report."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.summary import Greyed, Table

LOW_CEILING = 0.5  # a region that no map on the grid could give half of its mass is shown greyed

Scores = list[dict[str, Any]]  # one dictionary a run


def classification_tables(scores: Scores) -> list[Table]:
    """Runs by measures; then, for each run, precision, recall and F1 of each class."""
    measures: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        ("accuracy", lambda run: run["accuracy"]),
        ("without twins in train", lambda run: run["without_twins_in_train"]["accuracy"]),
        ("macro precision", lambda run: run["macro"]["precision"]),
        ("macro recall", lambda run: run["macro"]["recall"]),
        ("macro F1", lambda run: run["macro"]["f1"]),
        ("weighted F1", lambda run: run["weighted"]["f1"]),
    ]
    first = scores[0]
    overall = Table(
        f"classification on {first['split']}: {first['faces']:,} faces, "
        f"{first['without_twins_in_train']['faces']:,} of them without a twin in train",
        ["model", "seeds", *(name for name, _ in measures)],
        [
            [
                condition,
                str(len(runs)),
                *(_over_seeds([measure(run) for run in runs]) for _, measure in measures),
            ]
            for condition, runs in _by_condition(scores)
        ],
    )  # fmt: skip
    return [overall, *map(_class_table, scores)]


def _class_table(run: dict[str, Any]) -> Table:
    return Table(
        f"{run['run']}: classes on {run['split']}",
        ["class", "faces", "precision", "recall", "F1"],
        [
            [name, f"{of['faces']:,}", *(f"{of[measure]:.1%}" for measure in ("precision", "recall", "f1"))]
            for name, of in run["per_class"].items()
        ],
    )


def attention_tables(scores: Scores) -> list[Table]:
    """Models by regions: share and lift, with the regions' areas and the grids' ceilings; then by class."""
    first = scores[0]
    rows = []
    for condition, runs in _by_condition(scores):
        rows.append(
            [
                condition,
                str(len(runs)),
                *(_share_cell([run["overall"] for run in runs], region) for region in REGIONS),
            ]
        )
    if first["overall"] is not None:
        rows.append(["area", "", *(_percent(first["overall"]["area"][region]) for region in REGIONS)])
    for grid, ceiling in _ceilings(scores):
        rows.append([f"ceiling {grid}", "", *(_percent(ceiling[region]) for region in REGIONS)])
    notes = [
        "share of the heatmap on each region (mean over faces), and its lift: share over area, 1 for a map "
        "that ignores the face. Ceiling: the largest share any map on the grid could reach; greyed where it "
        f"is below {LOW_CEILING:.0%}.",
        *(
            f"{run['run']}: left out "
            + ", ".join(
                f"{count:,} of {run['faces']:,} faces ({why})" for why, count in run["left_out"].items()
            )
            for run in scores
        ),
    ]
    overall = Table(
        f"{first['explainer']} on {first['split']}, target {first['target']}: share of each region",
        ["model", "seeds", *REGIONS],
        rows,
        notes,
    )
    return [overall, *map(_attention_class_table, scores)]


def _left_out(run: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} with {why}" for why, count in run["left_out"].items())
    return f"{run['run']}: of {run['faces']:,} faces left out: {counts}."


def _attention_class_table(run: dict[str, Any]) -> Table:
    return Table(
        f"{run['run']}: {run['explainer']} by true class",
        ["class", "faces", *REGIONS],
        [
            [name, f"{of['faces']:,}", *(_share_cell([of], region) for region in REGIONS)]
            for name, of in run["per_class"].items()
            if of is not None
        ],
    )


def _by_condition(scores: Scores) -> Iterable[tuple[str, Scores]]:
    ordered = sorted(scores, key=lambda run: (run["condition"], run["run"]))
    return [(condition, list(runs)) for condition, runs in groupby(ordered, key=lambda run: run["condition"])]


def _ceilings(scores: Scores) -> Iterable[tuple[str, dict[str, float]]]:
    of_grid: dict[str, dict[str, float]] = {}
    for run in scores:
        if run["overall"] is not None:
            of_grid.setdefault("x".join(map(str, run["grid"])), run["overall"]["ceiling"])
    return of_grid.items()


def _share_cell(figures: list[dict[str, Any] | None], region: str) -> str:
    known = [of for of in figures if of is not None]
    if not known:
        return "-"
    share = _over_seeds([of["share"][region] for of in known])
    lifts = [of["lift"][region] for of in known if of["lift"][region] is not None]
    text = f"{share}  ×{np.mean(lifts):.2f}" if lifts else share
    return Greyed(text) if known[0]["ceiling"][region] < LOW_CEILING else text


def _over_seeds(values: list[float]) -> str:
    """One value, or mean and standard deviation over the seeds."""
    if len(values) == 1:
        return _percent(values[0])
    return f"{_percent(np.mean(values))} ± {np.std(values, ddof=1) * 100:.1f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"
