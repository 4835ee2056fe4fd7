"""The suite `truth`: how well explanations find evidence whose place is known by construction.

For synthetic faces only one region of which tells the class (`fertool prepare synthetic --evidence mouth`), or
that carry a mark in the background (`--spurious 0.9`). A model that solves such a task can only have looked
there, so an explanation that points elsewhere is wrong about the model.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.explain.interpolation import interpolate, interpolation_matrix
from fertool.explain.registry import Request
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.tables import Scores, groups, over_seeds, with_interval
from fertool.score.settings import ScoreSettings
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.json_numbers import named, named_intervals
from fertool.score.suites.input_files import explainer_and_target, heatmap_files
from fertool.score.suites.map_batches import Maps, row_batches
from fertool.score.suites.suite import Suite, tables_alone
from fertool.score.suites.suite_inputs import maps_beside_nulls
from fertool.summary import Table

PLANES = ("evidence", "mark")
MEASURES = ("share", "area", "ceiling", "pointing", "auc")
ROWS_AT_ONCE = 256


def score_truth(evaluated: EvaluatedRun, request: Request, target: str) -> tuple[Figures, Columns]:
    """Share, lift, ceiling, pointing game and AUC of an explainer and of the nulls, on each known plane.

    Raises UserError where the faces are not synthetic ones with evidence or marks.
    """
    planes = known_planes(evaluated)
    maps = maps_beside_nulls(evaluated, request, target)
    right = evaluated.predicted == evaluated.labels
    columns: Columns = {"label": evaluated.labels, "predicted": evaluated.predicted}
    figures: Figures = {"accuracy": float(right.mean()), "planes": {}}
    for plane, where in planes.items():
        plane_figures = {}
        for name, heatmaps in maps.items():
            measures = find_evidence(heatmaps, where)
            plane_figures[name] = _figures(measures, evaluated.clusters)
            if name == next(iter(maps)):
                columns |= {f"{plane}_{measure}": values for measure, values in measures.items()}
        figures["planes"][plane] = plane_figures
    return figures, columns


def known_planes(evaluated: EvaluatedRun) -> dict[str, np.ndarray]:
    """The pixels of each face's evidence and of its mark, bool (N, H, W) each, as far as they are known."""
    planes = {}
    if evaluated.workspace.holds(evaluated.workspace.truth(evaluated.split)):
        truth = evaluated.workspace.load_truth(evaluated.split)
        planes = {name: evaluated.sampled(truth[name]) for name in PLANES if name in truth}
    if not planes:
        raise UserError(
            f"{evaluated.workspace.root}: nothing is known of where the evidence is; prepare synthetic faces "
            "with --evidence or --spurious in a workspace of their own"
        )
    return planes


def find_evidence(heatmaps: Maps, where: np.ndarray) -> Columns:
    """MEASURES of rectified heatmaps (N, h, w) against planes bool (N, H, W), each float64 (N,).

    share, area, ceiling: as of a region (`fertool.score.suites.shares`). pointing: 1 where the hottest pixel lies on
    the plane, 0 elsewhere, the plane's share of them where several are hottest (Zhang et al. 2018, 'Top-Down
    Neural Attention by Excitation Backprop', section 4.2, without its tolerance). auc: the probability that a
    pixel on the plane is hotter than one beside it, half where they are equal (Mann and Whitney 1947). Maps
    are brought bilinearly to the planes' resolution. nan for a map of zeros and for an empty plane.
    """
    from scipy.stats import rankdata

    down, across = (
        interpolation_matrix(*sides) for sides in zip(where.shape[1:], heatmaps.shape[1:], strict=True)
    )
    result = {name: np.full(len(heatmaps), np.nan) for name in MEASURES}
    for rows in row_batches(heatmaps, ROWS_AT_ONCE):
        start = rows.start
        plane = where[rows].reshape(len(where[rows]), -1).astype(np.float64)
        heat = interpolate(heatmaps[rows], where.shape[1:]).reshape(plane.shape)
        on_plane = np.einsum("ih,nij,jw->nhw", down, where[rows].astype(np.float64), across, optimize=True)
        cell_area = np.outer(down.sum(axis=0), across.sum(axis=0))
        cell_share = np.divide(on_plane, cell_area, out=np.zeros_like(on_plane), where=cell_area > 0)
        pixels, inside = plane.shape[1], plane.sum(axis=1)
        known = (heat.sum(axis=1) > 0) & (inside > 0) & (inside < pixels)
        heat, plane, inside = heat[known], plane[known], inside[known]
        # equal pixels stay equal: interpolation leaves them different in the last digits
        heat = (heat / heat.max(axis=1, keepdims=True)).round(12)
        hottest = heat >= heat.max(axis=1, keepdims=True)
        rank_sum = (rankdata(heat, axis=1) * plane).sum(axis=1)
        at = start + np.flatnonzero(known)
        result["share"][at] = (heat * plane).sum(axis=1) / heat.sum(axis=1)
        result["area"][at] = inside / pixels
        result["ceiling"][at] = cell_share[known].max(axis=(1, 2))
        result["pointing"][at] = (hottest * plane).sum(axis=1) / hottest.sum(axis=1)
        result["auc"][at] = (rank_sum - inside * (inside + 1) / 2) / (inside * (pixels - inside))
    return result


def _figures(measures: Columns, clusters: np.ndarray) -> dict[str, Any] | None:
    """Means with 95% intervals; lift is mean share over mean area."""
    if np.isnan(measures["share"]).all():
        return None
    means = resample_means(np.stack([measures[name] for name in MEASURES], axis=1), clusters)
    with_lift = means.apply(
        lambda values: np.concatenate([values, values[..., [0]] / values[..., [1]]], axis=-1)
    )
    names = (*MEASURES, "lift")
    return {
        "faces": int((~np.isnan(measures["share"])).sum()),
        **named(names, with_lift),
        "intervals": named_intervals(names, with_lift),
    }


def truth_tables(scores: Scores) -> list[Table]:
    """Runs, and the nulls beside each, by how well their maps find each known plane."""
    tables, explainer = [], scores[0]["explainer"]
    for plane in scores[0]["planes"]:
        rows = []
        for group in groups(scores):
            accuracy = over_seeds(run["accuracy"] for run in group.runs)
            for name, figures in group.runs[0]["planes"][plane].items():
                cells = ["-"] * 5
                if figures is not None:
                    cells = [
                        _cell(figures, "share", 100, 1),
                        _cell(figures, "lift", 1, 2),
                        f"{100 * figures['ceiling']:.1f}",
                        _cell(figures, "pointing", 100, 1),
                        _cell(figures, "auc", 1, 3),
                    ]
                called = name if name == explainer else f"  null: {name} beside {explainer}"
                rows.append([group.label, accuracy if name == explainer else "", called, *cells])
        tables.append(
            Table(
                f"truth on {scores[0]['split']}: how well the {plane} is found",
                ["model", "accuracy", "explainer", "share, %", "lift", "ceiling, %", "pointing, %", "AUC"],
                rows,
                [
                    "A model that solves the task can only have looked at the evidence. Chance: lift 1, AUC 0.5. With "
                    "several seeds the figures are the first one's. A dash: no face has both a map with heat and "
                    f"the {plane}."
                ],
            )
        )
    return tables


def _cell(figures: dict[str, Any], name: str, scale: float, digits: int) -> str:
    return with_interval(figures[name], figures["intervals"][name], scale=scale, digits=digits)


# --- the suite ----------------------------------------------------------------------------------------------


def _files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    known = evaluated.workspace.truth(evaluated.split)
    return [*heatmap_files(evaluated, settings), *([known] if known.exists() else [])]


TRUTH = Suite(
    name="truth",
    explains=True,
    score=lambda evaluated, settings: score_truth(evaluated, settings.request, settings.target),
    show=tables_alone(truth_tables),
    inputs=_files,
    recorded=explainer_and_target,
)
