"""Several runs' attention in one table: joint faces, intervals, differences."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.score.evaluated_run import Columns
from fertool.score.results.tables import (
    Group,
    Scores,
    groups,
    percent,
    run_label,
    said_of_runs,
    seed_notes,
    with_interval,
)
from fertool.score.settings import CONTRASTS
from fertool.score.statistics.contrasts import Comparison, compare_all
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.json_numbers import mean_known
from fertool.score.suites.region_shares import (
    MEASURES,
    face_values,
    has_map,
    region_figures,
    share_column,
    shares_in,
)
from fertool.score.suites.suite_inputs import cam_layers
from fertool.summary import Greyed, Table

FEW_FACES = 30  # below it no p-values are given
LOW_CEILING = 0.5  # a region that no map on the grid could give half of its mass is shown greyed


def joint_figures(
    table_groups: Sequence[Group], columns: dict[str, Columns], clusters: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Each group's figures over the faces that all runs compared can be scored on, by the group's name.

    `columns` are each run's, by its name. A face that is empty in one run is dropped from all, except that a run
    all of whose maps are empty has no say in that, and none in its group's shares. The rate of empty maps stands
    beside the shares, with the bounds that a region's share of all the group's maps would have if the empty ones
    counted as none of the region, and as all of it. Intervals speak of images and, with several seeds, of seeds.
    """
    scored = {group.name: group for group in _with_maps(table_groups, columns)}
    counted = _counted(scored.values(), columns, len(clusters))
    figures = {}
    for group in table_groups:
        means = None
        if counted.any() and group.name in scored:
            values_by_run = [face_values(columns[run["run"]]) for run in scored[group.name].runs]
            values = np.stack(
                [np.where(counted[:, None], run_values, np.nan) for run_values in values_by_run]
            )
            means = region_figures(resample_means(values, clusters), int(counted.sum()))
        group_columns = [columns[run["run"]] for run in group.runs]
        figures[group.name] = {
            "figures": means,
            "empty_rate": _empty_rate(group_columns),
            "bounds": None if means is None else _bounds(group_columns),
        }
    return figures


def _with_maps(table_groups: Iterable[Group], columns: dict[str, Columns]) -> list[Group]:
    """The groups without the runs that have no map, and without the groups of which none is left."""
    kept = (
        Group(group.name, [run for run in group.runs if has_map(columns[run["run"]]).any()])
        for group in table_groups
    )
    return [group for group in kept if group.runs]


def _counted(table_groups: Iterable[Group], columns: dict[str, Columns], faces: int) -> np.ndarray:
    """The faces of which all these runs have a map, bool (N,); none without runs."""
    have = [has_map(columns[run["run"]]) for group in table_groups for run in group.runs]
    return np.all(have, axis=0) if have else np.zeros(faces, dtype=bool)


def _empty_rate(runs: Sequence[Columns]) -> float | None:
    empty = np.concatenate([columns["empty"][columns["located"] == 1] == 1 for columns in runs])
    return float(empty.mean()) if len(empty) else None


def _bounds(runs: Sequence[Columns]) -> dict[str, list[float]]:
    """Shares of all maps, those of zeros counted as none of a region, and as all of it: means over the runs."""

    def limits(columns: Columns, region: str) -> tuple[float, float]:
        located = columns["located"] == 1
        empty = columns["empty"][located] == 1
        least = np.where(empty, 0, columns[share_column(region)][located]).mean()
        return least, least + empty.mean()

    return {
        region: np.mean([limits(columns, region) for columns in runs], axis=0).tolist() for region in REGIONS
    }


def compare_groups(
    table_groups: Sequence[Group],
    columns: dict[str, Columns],
    clusters: np.ndarray,
    contrasts: Sequence[str] = CONTRASTS,
) -> dict[str, list[Comparison]]:
    """Every pair of groups on the same faces: all that can be scored, and those that all get right.

    Runs without a map are left out.
    """
    codes = [REGIONS.index(name) for name in contrasts]
    table_groups = _with_maps(table_groups, columns)
    if len(table_groups) < 2:
        return {}
    everything = [columns[run["run"]] for group in table_groups for run in group.runs]
    counted = _counted(table_groups, columns, len(clusters))
    right = np.all([run_columns["predicted"] == run_columns["label"] for run_columns in everything], axis=0)
    comparisons = {}
    for what, faces in (("all faces", counted), ("faces that all get right", counted & right)):
        shares = {
            group.name: np.stack(
                [np.where(faces[:, None], shares_in(columns[run["run"]]), np.nan) for run in group.runs]
            )
            for group in table_groups
        }
        if len(np.unique(clusters[faces])) > 1:
            comparisons[what] = compare_all(shares, clusters, codes)
    return comparisons


def attention_tables(
    scores: Scores, columns: dict[str, Columns], clusters: np.ndarray, contrasts: Sequence[str] = CONTRASTS
) -> tuple[dict[str, Any], list[Table]]:
    """Models by regions: shares with nulls, lifts, the maps' spread, differences; then each run by class.

    `scores` are the runs' figures, `columns` their values a face, by run; `clusters` the faces' (N,). Returns
    the figures that the runs have together, and the tables.
    """
    rows = groups(scores)
    joint = joint_figures(rows, columns, clusters)
    comparisons = compare_groups(rows, columns, clusters, contrasts)
    first = scores[0]
    title = f"{first['explainer']} on {first['split']}, target {first['target']}"
    tables = [
        _share_table(f"{title}: share of each region, %", rows, joint),
        _lift_table(f"{title}: lift, share over area", rows, joint),
        _spread_table(f"{title}: how the heat lies", rows, joint),
        *(
            _comparison_table(f"{title}: differences on {what}", rows, compared)
            for what, compared in comparisons.items()
        ),
        *(_class_table(run) for run in scores),
        *(_jitter_table(run) for run in scores if run["jitter"]),
        *_template_tables([run for run in scores if run["template_faces"]]),
    ]
    data = {
        "joint": joint,
        "comparisons": {
            what: [dataclasses.asdict(comparison) for comparison in compared]
            for what, compared in comparisons.items()
        },
    }
    return data, tables


def _share_table(title: str, rows: list[Group], joint: dict[str, dict[str, Any]]) -> Table:
    cells = [row for group in rows for row in _share_rows(group, joint[group.name]["figures"])]
    known = [group for group in rows if joint[group.name]["figures"]]
    if known:
        areas = joint[known[0].name]["figures"]["area"]
        cells.append(["area", "", *(f"{100 * areas[name]:.1f}" for name in REGIONS)])
    grids = {"x".join(map(str, run["grid"])): run["ceiling"] for group in known for run in group.runs}
    for grid, ceiling in grids.items():
        cells.append([f"ceiling {grid}", "", *(f"{100 * ceiling[name]:.1f}" for name in REGIONS)])
    return Table(title, ["model", "seeds", *REGIONS], cells, _share_notes(rows, joint))


def _share_rows(group: Group, figures: dict[str, Any] | None) -> list[list[str]]:
    """A condition's shares, and below them what null maps get."""
    if figures is None:
        return [[group.label, group.seeds, *("-" for _ in REGIONS)]]
    ceiling = group.runs[0]["ceiling"]
    shares = (
        _greyed_if_low(with_interval(figures["share"][name], figures["share_interval"][name]), ceiling[name])
        for name in REGIONS
    )
    rows = [[group.label, group.seeds, *shares]]
    nulls_by_run = [run["nulls"] for run in group.runs if run["nulls"]]
    for null in nulls_by_run[0]:
        means = (mean_known(nulls[null][name] for nulls in nulls_by_run) for name in REGIONS)
        rows.append([f"  null: {null}", "", *(Greyed(with_interval(mean, None)) for mean in means)])
    return rows


def _share_notes(rows: list[Group], joint: dict[str, dict[str, Any]]) -> list[str]:
    runs = [run for group in rows for run in group.runs]
    several = any(len(group.runs) > 1 for group in rows)
    notes = [
        f"Mean share of the heatmap on each region [95% interval over images{' and seeds' if several else ''}].",
        f"Ceiling: the largest share that any map on this grid can have. A region with a ceiling below "
        f"{LOW_CEILING:.0%} is greyed.",
        "Nulls: shares of maps that know nothing of the model or of the face, over all faces with a map.",
        *cam_layers(runs),
        *said_of_runs({run_label(run): _left_out(run) for run in runs}),
    ]
    notes += [
        _empty_maps(group.label, joint[group.name]) for group in rows if joint[group.name]["empty_rate"]
    ]
    known = any(joint[group.name]["figures"] for group in rows)
    without = [run_label(run) for run in runs if run["overall"] is None]
    if without and known:
        notes.append(f"{', '.join(without)}: no map to score, so left out of means and differences.")
    if not known and len(rows) > 1:
        notes.append(
            "No face has landmarks and a map in all of these runs: leave out the runs that have the most empty maps."
        )
    return [*notes, *_seeds_in_words(rows), *_unlike_grids(rows)]


def _seeds_in_words(rows: list[Group]) -> list[str]:
    alone = [group.label for group in rows if len(group.runs) == 1]
    notes = seed_notes(rows)
    if len(rows) > 1 and len(alone) == len(rows):
        notes.append("One seed each: this table compares networks, not methods.")
    elif 0 < len(alone) < len(rows):
        notes.append(f"{', '.join(alone)}: one seed, so the interval is over images alone.")
    return notes


def _unlike_grids(rows: list[Group]) -> list[str]:
    """A note where maps lie on different grids; it advises the coarsest of them unless that greys a region."""
    runs = [run for group in rows for run in group.runs]
    sides = {run["grid"][0] for run in runs}
    if len(sides) < 2:
        return []
    coarsest = min(sides)
    ceilings = [run["ceiling"] for run in runs if run["grid"][0] == coarsest]
    low = [region for region in REGIONS if min(ceiling[region] for ceiling in ceilings) < LOW_CEILING]
    advice = f"'fertool score --grid {coarsest}' compares them on one grid."
    if low:
        advice = (
            f"No common grid is recommended: on the coarsest of them, {coarsest}x{coarsest}, the ceiling is below "
            f"{LOW_CEILING:.0%} for {', '.join(low)}."
        )
    return [f"The maps lie on different grids, which alone moves shares. {advice}"]


def _greyed_if_low(text: str, ceiling: float) -> str:
    return Greyed(text) if ceiling < LOW_CEILING else text


def _left_out(run: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} with {why}" for why, count in run["left_out"].items())
    return f"{run['faces']:,} faces; left out are {counts}."


def _empty_maps(name: str, joint: dict[str, Any]) -> str:
    few = joint["empty_rate"] < 0.001
    rate = f"{name}: {joint['empty_rate']:{'.2%' if few else '.1%'}} of maps are empty"
    if joint["bounds"] is None or few:  # whose bounds are the shares, as far as they are shown
        return f"{rate}."
    within = (
        f"{region} {100 * low:.1f} to {100 * high:.1f}" for region, (low, high) in joint["bounds"].items()
    )
    return f"{rate}. If each lay off a region, or wholly on it, the shares would be {', '.join(within)}."


def _lift_table(title: str, rows: list[Group], joint: dict[str, dict[str, Any]]) -> Table:
    cells = []
    for group in rows:
        figures = joint[group.name]["figures"]
        texts = ["-"] * len(REGIONS)
        if figures is not None:
            ceiling = group.runs[0]["ceiling"]
            texts = [
                _greyed_if_low(
                    with_interval(figures["lift"][name], figures["lift_interval"][name], scale=1, digits=2),
                    ceiling[name],
                )
                for name in REGIONS
            ]
        cells.append([group.label, group.seeds, *texts])
    notes = [
        "Lift: the region's share of the heatmap over its share of the picture [95% interval]. A map that ignores the "
        "face has a lift of 1."
    ]
    layers = cam_layers([run for group in rows for run in group.runs])
    return Table(title, ["model", "seeds", *REGIONS], cells, [*notes, *layers, *seed_notes(rows)])


def _spread_table(title: str, rows: list[Group], joint: dict[str, dict[str, Any]]) -> Table:
    measures = ("background_ratio", *MEASURES)
    cells = []
    for group in rows:
        figures = joint[group.name]["figures"]
        texts = ["-"] * len(measures)
        if figures is not None:
            texts = [
                with_interval(figures[name], figures[f"{name}_interval"], scale=1, digits=3)
                for name in measures
            ]
        cells.append([group.label, group.seeds, *texts, percent(joint[group.name]["empty_rate"])])
    notes = [
        "Background ratio: heat on the background over heat on the face. Entropy: 1 for a uniform map. Extent: mean "
        "distance of the heat from its centre, in inter-ocular distances. AU energy and AU cosine: how much of the "
        "heat lies on the action units of the face's emotion, and the cosine with their map; neutral faces have none."
    ]
    columns = ["background ratio", "entropy", "extent", "AU energy", "AU cosine", "empty maps"]
    return Table(title, ["model", "seeds", *columns], cells, notes)


def _comparison_table(title: str, rows: list[Group], comparisons: list[Comparison]) -> Table:
    labels = {group.name: group.label for group in rows}
    cells = [
        [
            " - ".join(labels.get(name, name) for name in comparison.names),
            f"{comparison.images:,}",
            REGIONS[contrast.region],
            f"{100 * contrast.difference:+.2f} [{100 * contrast.low:+.2f}, {100 * contrast.high:+.2f}]",
            *(
                f"{p:.2g}" if comparison.images >= FEW_FACES else "-"
                for p in (comparison.omnibus_p_holm, contrast.p, contrast.p_holm)
            ),
        ]
        for comparison in comparisons
        for contrast in comparison.contrasts
    ]
    notes = [
        "Difference of mean shares in points [95% interval], paired by image. Omnibus p: of a permutation test that "
        "any log-ratio of the shares differs. p: of each contrast; p (Holm): corrected over all of them."
    ]
    if any(comparison.images < FEW_FACES for comparison in comparisons):
        notes.append(f"Over fewer than {FEW_FACES} faces no p-values are given.")
    if any(max(comparison.seeds) > 1 for comparison in comparisons):
        notes.append(
            "A p-value speaks of these trained networks on other faces; the interval speaks of other seeds as well. "
            "Where the interval holds 0, a small p says that the networks differ, not that the methods do."
        )
    if any(min(comparison.seeds) == 1 < max(comparison.seeds) for comparison in comparisons):
        notes.append("A model with one seed stands for that network alone: no other seed is in its interval.")
    return Table(
        title,
        ["models", "faces", "region", "difference", "omnibus p", "p", "p (Holm)"],
        cells,
        [*notes, *_unlike_grids(rows)],
    )


def _class_table(run: dict[str, Any]) -> Table:
    subsets = {
        **{f"true {name}": figures for name, figures in run["per_class"].items()},
        **{f"predicted {name}": figures for name, figures in run["per_predicted"].items()},
        "right": run["right"],
        "wrong": run["wrong"],
    }
    return Table(
        f"{run_label(run)}: {run['explainer']} by class, share of each region, %",
        ["faces that are", "faces", *REGIONS],
        [
            [
                name,
                f"{figures['faces']:,}",
                *(
                    with_interval(figures["share"][region], figures["share_interval"][region])
                    for region in REGIONS
                ),
            ]
            for name, figures in subsets.items()
            if figures is not None
        ],
        detail=True,
    )


def _jitter_table(run: dict[str, Any]) -> Table:
    figures = run["jitter"]
    return Table(
        f"{run_label(run)}: landmarks moved by {figures['iod']:g} inter-ocular distances, points",
        ["shares move by", *REGIONS],
        [
            [kind, *(f"{100 * figures[key][name]:{sign}.2f}" for name in REGIONS)]
            for kind, key, sign in (
                ("mean over faces", "mean_moves", "+"),
                ("a face, on average", "face_moves", ""),
            )
        ],
    )


def _template_tables(runs: Scores) -> list[Table]:
    if not runs:
        return []
    classes = list(runs[0]["template_faces"]["rest"]["class_mix"])
    rows = []
    for run in runs:
        for what, side in run["template_faces"].items():
            mix = (percent(side["class_mix"][name]) for name in classes)
            cells = [f"{side['faces']:,}", percent(side["accuracy"]), *mix]
            rows.append([run_label(run), what.replace("_", " "), *cells])
    return [
        Table(
            "the faces left out because no landmarks were found, beside the rest",
            ["run", "", "faces", "accuracy", *classes],
            rows,
            detail=len(runs) > 1,
        )
    ]
