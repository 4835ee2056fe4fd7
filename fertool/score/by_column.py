"""`score --by-column`: the figures of the suites by groups of faces, and the differences between the groups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.score.column_groups import ColumnGroups, column_groups
from fertool.score.column_request import parse_column
from fertool.score.evaluated_run import Columns
from fertool.score.perturbations.fills import FILLS
from fertool.score.results.tables import Group, groups, with_interval
from fertool.score.statistics.contrasts import holm
from fertool.score.statistics.group_differences import permutation_p_values
from fertool.score.statistics.intervals import Resampled, resample_means
from fertool.score.statistics.json_numbers import numbers_or_none
from fertool.score.statistics.scales import POSITIVE, PROPORTION, UNBOUNDED, Scale
from fertool.score.suites.causal import cause_column, causes_of
from fertool.score.suites.region_shares import areas_in, has_map, shares_in
from fertool.score.suites.suite import Results
from fertool.summary import Greyed, Table

SHOWN_P = 0.05  # after Holm's correction: a difference below it is shown
FEW_FACES = 30  # a group of fewer is greyed, and compared with no other


@dataclass(frozen=True)
class Measure:
    """Ratios of means over faces: of `values(columns)`, (N, K), over `sizes(columns)`, (N, K); None: over 1."""

    name: str
    suite: str
    names: tuple[str, ...]
    values: Callable[[Columns], np.ndarray]
    sizes: Callable[[Columns], np.ndarray] | None
    scale: Scale
    factor: float  # from a figure to what tables show
    digits: int


def _shares(columns: Columns) -> np.ndarray:
    return np.where(has_map(columns)[:, None], shares_in(columns), np.nan)


def _areas(columns: Columns) -> np.ndarray:
    return np.where(has_map(columns)[:, None], areas_in(columns), np.nan)


def _weights(columns: Columns) -> np.ndarray:
    fills = [fill for fill in FILLS if cause_column("answer", fill, REGIONS[0]) in columns]
    return np.mean([causes_of(columns, "answer", fill) for fill in fills], axis=0)


MEASURES = (
    Measure(
        "accuracy",
        "classification",
        ("accuracy",),
        lambda columns: columns["correct"][:, None],
        None,
        PROPORTION,
        100,
        1,
    ),
    Measure(
        "share",
        "attention",
        REGIONS,
        _shares,
        None,
        PROPORTION,
        100,
        1,
    ),
    Measure(
        "lift",
        "attention",
        REGIONS,
        _shares,
        _areas,
        POSITIVE,
        1,
        2,
    ),
    Measure("causal weight", "causal", REGIONS, _weights, None, UNBOUNDED, 100, 1),
)

MEASURE = {measure.name: measure for measure in MEASURES}

BY_COLUMN = {measure.suite for measure in MEASURES}
"""The suites whose figures are shown by groups."""


def figures_by_column(results: Mapping[str, Results], column: str) -> tuple[dict[str, Any], list[Table]]:
    """The figures of the suites that were scored, by groups of a column: for scripts, and as tables.

    Args:
        results: classification, attention or causal, by the suite's name; at least one of them.
        column: `COLUMN` or `COLUMN=EDGE,...`, see `parse_column`.

    Returns:
        Figures of each condition and measure: those of each group, with the faces that count, and for each pair of
        groups the differences with their p-values, Holm's over the pairs and regions of the measure. Tables of them.
    """
    first = next(found for name, found in results.items() if name in BY_COLUMN)
    made = column_groups(first.evaluated_runs[0], parse_column(column))
    conditions: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for measure in MEASURES:
        if measure.suite not in results:
            continue
        scored = results[measure.suite]
        for condition in groups(scored.scores):
            labels[condition.name] = condition.label
            conditions.setdefault(condition.name, {})[measure.name] = _figures(
                measure, condition, scored, made
            )
    faces = {name: int(members.sum()) for name, members in made.members.items()}
    data = {"column": made.column, "groups": faces, "made": made.said, "conditions": conditions}
    return data, _tables(data, labels, first.settings.split)


def _figures(measure: Measure, condition: Group, scored: Results, made: ColumnGroups) -> dict[str, Any]:
    runs = [scored.columns[run["run"]] for run in condition.runs]
    values = np.stack([measure.values(columns) for columns in runs])
    sizes = np.ones_like(values) if measure.sizes is None else np.stack([measure.sizes(run) for run in runs])
    counted = np.isfinite(values).all(axis=(0, 2)) & np.isfinite(sizes).all(axis=(0, 2))
    members = {name: faces & counted for name, faces in made.members.items()}
    kept = {name: faces for name, faces in members.items() if faces.any()}
    if not kept:
        return {"groups": {}, "differences": []}
    means = _means(values, sizes, kept, scored.clusters)
    count = len(measure.names)
    low, high = means.interval(measure.scale)
    figures = {
        name: {
            "faces": int(faces.sum()),
            "value": _named(measure, means.figures[place : place + count]),
            "interval": {
                each: numbers_or_none(limits)
                for each, *limits in zip(
                    measure.names, low[place : place + count], high[place : place + count], strict=True
                )
            },
        }
        for place, (name, faces) in zip(range(0, count * len(kept), count), kept.items(), strict=True)
    }
    differences = _differences(measure, values, sizes, means, kept, scored.clusters)
    return {"groups": figures, "differences": differences}


def _named(measure: Measure, values: np.ndarray) -> dict[str, float | None]:
    return dict(zip(measure.names, numbers_or_none(values), strict=True))


def _means(
    values: np.ndarray, sizes: np.ndarray, members: Mapping[str, np.ndarray], clusters: np.ndarray
) -> Resampled:
    """The ratios of each group, K figures a group."""
    stacked = [
        np.where(faces[:, None], part, np.nan) for part in (values, sizes) for faces in members.values()
    ]
    both = resample_means(np.concatenate(stacked, axis=2), clusters)
    half = values.shape[2] * len(members)
    return both.apply(lambda figures: figures[..., :half] / figures[..., half:])


def _differences(
    measure: Measure,
    values: np.ndarray,
    sizes: np.ndarray,
    means: Resampled,
    members: Mapping[str, np.ndarray],
    clusters: np.ndarray,
) -> list[dict[str, Any]]:
    """The differences between each two groups that are large enough, with p-values of the means over seeds."""
    names, count = list(members), len(measure.names)
    large = [name for name in names if members[name].sum() >= FEW_FACES]
    found = []
    for one, other in combinations(large, 2):
        at, against = (count * names.index(name) + np.arange(count) for name in (one, other))
        apart = means.apply(partial(_apart, at=at, against=against))
        rows = members[one] | members[other]
        p = permutation_p_values(
            values.mean(axis=0)[rows], sizes.mean(axis=0)[rows], members[one][rows], clusters[rows]
        )
        found.append((one, other, apart.figures, np.stack(apart.interval()), p))
    if not found:
        return []
    p_holm = holm(np.concatenate([p for *_, p in found])).reshape(len(found), count)
    return [
        {
            "groups": [one, other],
            "of": name,
            "difference": float(difference[place]),
            "interval": numbers_or_none(limits[:, place]),
            "p": float(p[place]),
            "p_holm": float(corrected[place]),
        }
        for (one, other, difference, limits, p), corrected in zip(found, p_holm, strict=True)
        for place, name in enumerate(measure.names)
    ]


def _apart(figures: np.ndarray, at: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Figures (..., K) at some places less those at others."""
    return figures[..., at] - figures[..., against]


def differences_in_words(figures: Mapping[str, Any]) -> str:
    """The largest difference of each measure that is shown to be one, of a condition's figures, in a sentence."""
    said = []
    for measure in MEASURES:
        found = figures.get(measure.name, {"differences": []})["differences"]
        shown = [each for each in found if each["p_holm"] < SHOWN_P]
        if not shown:
            continue
        largest = max(shown, key=lambda each: abs(each["difference"]))
        what = measure.name if measure.name == largest["of"] else f"{measure.name} of {largest['of']}"
        said.append(
            f"{what} by {measure.factor * largest['difference']:+.{measure.digits + 1}f} "
            f"({' less '.join(largest['groups'])}; {len(shown)} of {len(found)} differences)"
        )
    if not said:
        return "No difference between the groups is shown (p after Holm's correction 0.05 or more)."
    return (
        f"The largest differences that are shown (p after Holm's correction below 0.05): {'; '.join(said)}."
    )


def _tables(data: dict[str, Any], labels: Mapping[str, str], split: str) -> list[Table]:
    measures = [
        measure for measure in MEASURES if any(measure.name in found for found in data["conditions"].values())
    ]
    tables = [_group_table(measure, data, labels, split) for measure in measures]
    return [*tables, _difference_table(measures, data, labels, split)]


def _group_table(measure: Measure, data: dict[str, Any], labels: Mapping[str, str], split: str) -> Table:
    rows: list[list[str]] = []
    for condition, found in data["conditions"].items():
        for name, figures in found.get(measure.name, {"groups": {}})["groups"].items():
            cells = [
                with_interval(
                    figures["value"][each],
                    figures["interval"][each],
                    scale=measure.factor,
                    digits=measure.digits,
                )
                for each in measure.names
            ]
            row = [labels[condition], name, f"{figures['faces']:,}", *cells]
            rows.append([Greyed(cell) for cell in row] if figures["faces"] < FEW_FACES else row)
    percent = ", %" if measure.factor != 1 else ""
    return Table(
        f"by {data['column']} on {split}: {measure.name}{percent}",
        ["model", data["column"], "faces", *measure.names],
        rows,
        [f"Groups: {data['made']}. A group of fewer than {FEW_FACES} faces is greyed. [95% interval]"],
    )


def _difference_table(
    measures: list[Measure], data: dict[str, Any], labels: Mapping[str, str], split: str
) -> Table:
    rows: list[list[str]] = []
    for condition, found in data["conditions"].items():
        for measure in measures:
            for each in found.get(measure.name, {"differences": []})["differences"]:
                difference, (low, high) = each["difference"], each["interval"]
                factor, digits = measure.factor, measure.digits + 1
                text = f"{factor * difference:+.{digits}f}"
                if low is not None and high is not None:
                    text += f" [{factor * low:+.{digits}f}, {factor * high:+.{digits}f}]"
                what = measure.name if measure.name == each["of"] else f"{measure.name} of {each['of']}"
                cells = [labels[condition], " - ".join(each["groups"]), what, text]
                row = [*cells, f"{each['p']:.2g}", f"{each['p_holm']:.2g}"]
                rows.append(row if each["p_holm"] < SHOWN_P else [Greyed(cell) for cell in row])
    notes = [
        "Differences in points, of lifts as they are [95% interval over images and seeds]. p: of a permutation test of "
        "these networks on other faces; p (Holm): corrected over the pairs of groups and the regions of a measure. "
        "A row with p (Holm) of 0.05 or more is greyed."
    ]
    return Table(
        f"by {data['column']} on {split}: differences between groups",
        ["model", "groups", "of", "difference", "p", "p (Holm)"],
        rows,
        notes,
    )
