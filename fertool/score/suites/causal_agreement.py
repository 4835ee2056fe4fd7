"""Does attention tell the causes? Shares of heatmaps beside the exact Shapley values of the same regions.

Shares and Shapley values are six numbers a face each, and both grow with a region's area, which any map gets right
that is warm everywhere. So area is partialled out of both, and the residuals are correlated in two ways, which answer
two questions:

- within faces: over the six regions of each face, then averaged over faces: does the map rank this face's
  regions as their causes do? A map that says the same of every face (`swapped`) can still do well here, where
  the model uses the same regions in every face.
- across faces: over the faces, for each region, then averaged over the six: is a region warmer in the faces
  where it counts for more? Here a map that is not about this face has nothing to say.

Shares of a map of a class's evidence should be low where a region speaks against the class: they are compared
with signed Shapley values. A map that tells how much a region matters, either way (negative cells count by
their size, or the class is not looked at), is compared with their sizes. The figures hold both.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.explain.registry import Request
from fertool.masks.regions import REGIONS
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.fills import FILLS
from fertool.score.results.face_csv import read_columns
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import Scores, groups, run_label, with_interval
from fertool.score.settings import ScoreSettings
from fertool.score.statistics.intervals import Resampled, resample_means
from fertool.score.statistics.json_numbers import named_intervals
from fertool.score.statistics.scales import CORRELATION
from fertool.score.suites.causal import CAUSAL, CAUSAL_TARGETS, cause_column, causes_of
from fertool.score.suites.input_files import explainer_and_target, heatmap_files, without_nulls
from fertool.score.suites.shares import area_shares, shares_and_ceilings
from fertool.score.suites.suite import Results, Suite
from fertool.score.suites.suite_inputs import faces_counted, maps_beside_nulls
from fertool.summary import Table

RESIDUE = 1e-6  # of a deviation: below it all is area, and rounding is left


def score_causal_agreement(
    evaluated: EvaluatedRun, request: Request, target: str, causes: Columns, *, nulls: bool = True
) -> tuple[Figures, Columns]:
    """Agreement of the shares of an explainer's maps, and of the nulls', with each fill's Shapley values.

    Faces without landmarks, those whose map is empty, the explainer's or a null's, and those whose causes are not
    known are left out and counted; where none is left figures are None.

    Args:
        evaluated: the run and its faces.
        request: the explainer.
        target: label or predicted: both the class that is explained and the class whose logit was played for.
        causes: the columns of `score_causal` for this run and split.
        nulls: whether the nulls' shares are compared too; without, the explainer's are, on the same faces.
            Default: True.

    Returns:
        Figures. Columns: `told_<fill>`, the explainer's correlation within each face, (N,).

    Raises:
        UserError: another target.
    """
    if target not in CAUSAL_TARGETS:
        raise UserError(
            f"--target {target}: causes are known of {' and '.join(CAUSAL_TARGETS)}; take one of them"
        )
    regions = np.asarray(evaluated.region_maps)
    areas = area_shares(regions)
    maps = maps_beside_nulls(evaluated, request, target)
    map_shares, _ = shares_and_ceilings(list(maps.values()), regions)
    shares = dict(zip(maps, map_shares, strict=True))
    known = np.all([np.isfinite(values).all(axis=1) for values in shares.values()], axis=0)
    fills = [fill for fill in FILLS if cause_column(target, fill, REGIONS[0]) in causes]
    caused = np.ones(len(areas), dtype=bool)
    for fill in fills:
        caused &= np.isfinite(causes_of(causes, target, fill)).all(axis=1)
    counted = evaluated.located & known & caused
    signed = request.explainer.negatives == "drop" and request.explainer.looks_at_target
    figures: Figures = {
        "faces": len(areas),
        "counted": int(counted.sum()),
        "left_out": {
            "landmarks of the template": int((~evaluated.located).sum()),
            "an empty map": int((evaluated.located & ~known).sum()),
            "no causes": int((evaluated.located & known & ~caused).sum()),
        },
        "compared_with": "signed" if signed else "size",
        "fills": {},
    }
    columns: Columns = {}
    for fill in fills:
        truth = causes_of(causes, target, fill)
        figures["fills"][fill] = {
            name: truth_correlation(
                values[counted], truth[counted], areas[counted], evaluated.clusters[counted]
            )
            for name, values in shares.items()
            if nulls or name == request.key
        }
        columns[f"told_{fill}"] = np.where(
            counted,
            correlation_within(shares[request.key], truth if signed else np.abs(truth), areas),
            np.nan,
        )
    return figures, columns


def truth_correlation(
    shares: np.ndarray, shapley: np.ndarray, areas: np.ndarray, clusters: np.ndarray
) -> dict[str, Any]:
    """Correlations within and across faces, signed and of sizes, area partialled out, with 95% intervals.

    All (N, 6) but `clusters` (N,), the numbers that identical faces share; none of it nan. Each figure is
    {"correlation", "interval"}, None where nothing varies, and of no faces.
    """
    if len(shares) == 0:
        return {"faces": 0} | {
            kind: {question: {"correlation": None, "interval": [None, None]} for question in QUESTIONS}
            for kind in ("signed", "size")
        }
    figures: dict[str, Any] = {"faces": len(shares)}
    for kind, truth in (("signed", shapley), ("size", np.abs(shapley))):
        figures[kind] = {
            "within": _within(shares, truth, areas, clusters),
            "across": _across(shares, truth, areas, clusters),
        }
    return figures


def correlation_within(shares: np.ndarray, truth: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """The partial correlation over regions, given area, of each face: (N,) from (N, 6) each.

    0 where the share holds nothing but area; nan where the truth does, and there is nothing to tell.
    """
    shares_given_area, share_left = _without(shares, areas)
    truth_given_area, truth_left = _without(truth, areas)
    both = share_left & truth_left
    size = np.linalg.norm(shares_given_area, axis=1) * np.linalg.norm(truth_given_area, axis=1)
    correlation = np.divide(
        (shares_given_area * truth_given_area).sum(axis=1), size, out=np.zeros(len(shares)), where=both
    )
    return np.where(truth_left, correlation, np.nan)


def _without(values: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (N, 6) of a regression on area, face by face, and whether more than rounding is left (N,)."""
    deviation = values - values.mean(axis=1, keepdims=True)
    area = areas - areas.mean(axis=1, keepdims=True)
    spread = (area**2).sum(axis=1, keepdims=True)
    slope = np.divide(
        (area * deviation).sum(axis=1, keepdims=True), spread, out=np.zeros_like(spread), where=spread > 0
    )
    left = deviation - slope * area
    size = np.linalg.norm(deviation, axis=1)
    return left, np.linalg.norm(left, axis=1) > RESIDUE * np.maximum(size, np.finfo(float).tiny)


def _within(shares: np.ndarray, truth: np.ndarray, areas: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    correlations = correlation_within(shares, truth, areas)
    if not np.isfinite(correlations).any():
        return {"correlation": None, "interval": [None, None]}
    return _figure(resample_means(correlations, clusters))


def _across(shares: np.ndarray, truth: np.ndarray, areas: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """A function of the means of products, so that it is resampled as means are."""
    scaled = [_standardised(values) for values in (shares, truth, areas)]
    products = [one * other for number, one in enumerate(scaled) for other in scaled[number:]]
    moments = np.concatenate([*scaled, *products], axis=1)

    def partial(means: np.ndarray) -> np.ndarray:
        share, truth, area, *squares = np.split(means, 9, axis=-1)
        ss, st, sa, tt, ta, aa = squares
        ss, st, sa = ss - share * share, st - share * truth, sa - share * area
        tt, ta, aa = tt - truth * truth, ta - truth * area, aa - area * area
        slope = np.where(aa > RESIDUE, 1 / np.maximum(aa, RESIDUE), 0)
        share_left, truth_left = ss - sa * sa * slope, tt - ta * ta * slope
        varies = (share_left > RESIDUE) & (truth_left > RESIDUE)
        size = np.sqrt(np.where(varies, share_left * truth_left, 1))
        return np.where(varies, (st - sa * ta * slope) / size, 0).mean(axis=-1, keepdims=True)

    return _figure(resample_means(moments, clusters).apply(partial))


def _standardised(values: np.ndarray) -> np.ndarray:
    spread = values.std(axis=0)
    still = spread <= RESIDUE * np.abs(values).max(axis=0, initial=np.finfo(float).tiny)
    return np.where(still, 0, (values - values.mean(axis=0)) / np.where(still, 1, spread))


def _figure(means: Resampled) -> dict[str, Any]:
    return {"correlation": float(means.figures[0]), **named_intervals(["interval"], means)}


# --- tables -------------------------------------------------------------------------------------------------

QUESTIONS = {
    "within": "Does the map rank the regions of a face as their causes do? Correlation of shares with Shapley "
    "values over the six regions of each face, mean over faces",
    "across": "Is a region warmer in the faces where it counts for more? Correlation of shares with Shapley "
    "values over faces, mean over regions",
}


def causal_agreement_tables(scores: Scores) -> list[Table]:
    """Runs and the nulls beside them, by fill: the correlation within faces, then the one across faces."""
    first = scores[0]
    runs = [run for group in groups(scores) for run in group.runs]
    fills = [fill for fill in FILLS if any(fill in run["fills"] for run in runs)]
    kind = {"signed": "signed", "size": "sizes of the"}[first["compared_with"]]
    return [
        Table(
            f"{first['explainer']} on {first['split']}, target {first['target']}: does attention tell the causes? "
            f"({question} faces)",
            ["run", "map", *fills],
            _rows(runs, fills, question),
            [
                f"{text}; {kind} Shapley values, area partialled out [95% interval]. 1: the map tells all; 0: nothing.",
                *faces_counted(runs),
            ],
        )
        for question, text in QUESTIONS.items()
    ]


def agreement_over_seeds(results: Results) -> list[Table]:
    """The explainer's correlation within faces, conditions by fill, where a condition has several seeds."""
    rows = rows_of_seeds(results.scores)
    if not rows:
        return []
    first = results.scores[0]
    # runs that were scored by other fills lack the others' columns
    fills = [fill for fill in FILLS if all(fill in run["fills"] for run in results.scores)]
    told = [itemgetter(f"told_{fill}") for fill in fills]
    return [
        Table(
            f"{first['explainer']} on {first['split']}, target {first['target']}: does attention tell the causes? "
            "(within faces, over seeds)",
            ["model", "seeds", *fills],
            [
                [
                    row.label,
                    row.seeds,
                    *seed_cells(row, results.columns, told, results.clusters, CORRELATION),
                ]
                for row in rows
            ],
            [NOTE],
        )
    ]


def _rows(runs: Scores, fills: Sequence[str], question: str) -> list[list[str]]:
    rows = []
    for run in runs:
        names = list(dict.fromkeys(name for fill_figures in run["fills"].values() for name in fill_figures))
        for name in names:
            figures = (
                run["fills"][fill][name][run["compared_with"]][question] if fill in run["fills"] else None
                for fill in fills
            )
            rows.append([run_label(run), name, *map(_cell, figures)])
    return rows


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["correlation"] is None or None in figure["interval"]:
        return "-"
    return with_interval(figure["correlation"], figure["interval"], scale=1, digits=2)


# --- the suite ----------------------------------------------------------------------------------------------


def _causal_columns(evaluated: EvaluatedRun) -> Path:
    """The values a face that the suite causal has stored.

    Raises UserError where there are none, and where they are of other faces, masks or weights.
    """
    record = evaluated.run.scores(CAUSAL.name, evaluated.split)
    path = record.with_suffix(".csv")
    if not (path.exists() and record.exists()):
        raise UserError(f"{path}: no such file; run 'fertool score --suite causal' for this run")
    if CAUSAL.is_outdated(evaluated.workspace, evaluated.run, record):
        raise UserError(
            f"{path}: of other faces, masks or weights, or by an older way of scoring; run 'fertool score --suite "
            "causal' again for this run"
        )
    return path


def _score(evaluated: EvaluatedRun, settings: ScoreSettings) -> tuple[Figures, Columns]:
    stored = read_columns(_causal_columns(evaluated))
    causes = {name: evaluated.sampled(values) for name, values in stored.items()}
    return score_causal_agreement(evaluated, settings.request, settings.target, causes, nulls=settings.nulls)


CAUSAL_AGREEMENT = Suite(
    name="causal-agreement",
    explains=True,
    score=_score,
    show=lambda results: ({}, [*agreement_over_seeds(results), *causal_agreement_tables(results.scores)]),
    inputs=lambda evaluated, settings: [*heatmap_files(evaluated, settings), _causal_columns(evaluated)],
    recorded=lambda settings: explainer_and_target(settings) | without_nulls(settings),
    after=(CAUSAL.name,),
    needs_landmarks=True,
)
