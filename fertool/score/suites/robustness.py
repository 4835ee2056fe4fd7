"""The suite `robustness`: how well a run holds up on spoilt faces.

Errors under every corruption of `score.corruptions` at five severities, summarised as in ImageNet-C (Hendrycks
and Dietterich 2019) against a reference run, the error E a share of faces:

    CE_c = sum_s E_{s,c} / sum_s E^ref_{s,c}                              mCE = mean_c CE_c
    relative CE_c = sum_s (E_{s,c} - E_clean) / sum_s (E^ref_{s,c} - E^ref_clean)

Occluders are drawn by landmarks: faces whose landmarks were not found are left out of theirs. Clean accuracy is also
given by strata: head yaw, brightness, and agreement of FER+'s taggers.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from fertool.errors import UserError
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    corrupt,
    faces_at_once,
    move_boxes,
)
from fertool.score.perturbations.number_format import network_of
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import over_seeds, percent, run_label, with_interval
from fertool.score.statistics.intervals import mean_interval
from fertool.score.statistics.json_numbers import mean_or_none, numbers_or_none
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.head_pose import head_yaw_deg
from fertool.score.suites.input_files import model_files
from fertool.score.suites.suite import Results, Suite
from fertool.summary import Table

# limits of the strata, each from the one before up to below it
YAW_LIMITS_DEG = (10, 20, 30)  # of the head, to either side
BRIGHTNESS_LIMITS = (0.35, 0.5, 0.65)  # mean of the picture, of the range
AGREEMENT_LIMITS = (0.5, 0.7, 0.9)  # the share of the votes that the most frequent answer has


def score_robustness(evaluated: EvaluatedRun, seed: int = 0) -> tuple[Figures, Columns]:
    """Errors under corruptions, which are drawn by seed, and clean accuracy by strata.

    Columns: `right_<corruption>`, at how many of the five severities a face is recognised (nan where it was left
    out), and what the strata go by.
    """
    right = _right_under_corruption(evaluated, seed)
    clean = evaluated.predicted == evaluated.labels
    counted = {name: _counted(evaluated, corruption) for name, corruption in CORRUPTIONS.items()}
    right_mean = np.stack(
        [np.where(counted[name], right[name].mean(axis=0), np.nan) for name in CORRUPTIONS], axis=1
    )
    low, high = mean_interval(np.column_stack([clean, right_mean]), evaluated.clusters)
    traits = _traits(evaluated)
    figures: Figures = {
        "faces": len(clean),
        "seed": seed,
        "clean_accuracy": float(clean.mean()),
        "clean_interval": numbers_or_none([low[0], high[0]]),
        "corruptions": {
            name: {
                "unit": corruption.unit,
                "severities": list(corruption.severities),
                "faces": int(counted[name].sum()),
                "clean_error": mean_or_none(~clean[counted[name]]),
                "error": [mean_or_none(~right[name][level][counted[name]]) for level in range(SEVERITIES)],
                "accuracy": float(1 - np.mean(~right[name][:, counted[name]]))
                if counted[name].any()
                else None,
                "accuracy_interval": numbers_or_none([low[number], high[number]]),
            }
            for number, (name, corruption) in enumerate(CORRUPTIONS.items(), start=1)
        },
        "strata": _strata_figures(clean, traits, evaluated.clusters),
    }
    columns = {f"right_{name}": right_mean[:, number] * SEVERITIES for number, name in enumerate(CORRUPTIONS)}
    return figures, columns | traits


# --- errors -------------------------------------------------------------------------------------------------


def corruption_errors(
    errors: Mapping[str, Sequence[float]], reference_errors: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """CE of each corruption, from errors a severity of a run and of the reference: 1 is the reference's.

    nan where the reference makes no error. Raises UserError where the two saw other corruptions.
    """
    if set(errors) != set(reference_errors):
        odd = ", ".join(sorted(set(errors) ^ set(reference_errors)))
        raise UserError(f"corruption errors cannot be compared: only one side has {odd}; score both again")
    return {name: _ratio(sum(levels), sum(reference_errors[name])) for name, levels in errors.items()}


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]], reference_errors: Mapping[str, Sequence[float]]
) -> float:
    """mCE: the mean of `corruption_errors`."""
    return float(np.mean(list(corruption_errors(errors, reference_errors).values())))


def above_clean(errors: Mapping[str, Sequence[float]], clean: Mapping[str, float]) -> dict[str, list[float]]:
    """The errors that corruption adds to those on the same faces clean, for the relative mCE."""
    return {name: [error - clean[name] for error in levels] for name, levels in errors.items()}


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else float("nan")


def _right_under_corruption(evaluated: EvaluatedRun, seed: int) -> dict[str, np.ndarray]:
    """Whether each face is recognised, bool (5, N) a corruption."""
    device, network_on = evaluated.compute.device, network_of(evaluated)
    right = {name: np.zeros((SEVERITIES, len(evaluated.faces)), dtype=bool) for name in CORRUPTIONS}
    size = faces_at_once(evaluated.faces)
    boxes = None if evaluated.boxes is None else torch.from_numpy(evaluated.boxes).to(device)
    total = len(evaluated.faces) * len(CORRUPTIONS) * SEVERITIES
    with progress_bar(f"{evaluated.run.name}: robustness", total, "faces") as bar:
        for start in range(0, len(evaluated.faces), size):
            batch = slice(start, start + size)
            faces = torch.from_numpy(np.array(evaluated.faces[batch])).to(device)
            landmarks = torch.from_numpy(evaluated.landmarks[batch]).to(device)
            numbers, shape = np.arange(start, start + len(faces)), (faces.shape[1], faces.shape[2])
            rows = torch.from_numpy(numbers).to(device)
            for name, corruption in CORRUPTIONS.items():
                for level in range(1, SEVERITIES + 1):
                    spoilt = corrupt(corruption, level, faces, landmarks, rows, seed)
                    moved = None
                    if boxes is not None:
                        moved = move_boxes(corruption, level, boxes[batch], shape, rows, seed)
                    predicted = network_on(numbers, moved)(spoilt).argmax(dim=1)
                    right[name][level - 1, batch] = predicted.cpu().numpy() == evaluated.labels[batch]
                    bar.update(len(faces))
    return right


def _counted(evaluated: EvaluatedRun, corruption: Corruption) -> np.ndarray:
    return evaluated.located if corruption.by_landmarks else np.ones(len(evaluated.labels), dtype=bool)


# --- strata -------------------------------------------------------------------------------------------------


def brightness_of(faces: np.ndarray) -> np.ndarray:
    """The mean of each picture as a share of the range, float64 (N,)."""
    return np.asarray(faces).reshape(len(faces), -1).mean(axis=1) / 255


def agreement_of(votes: np.ndarray) -> np.ndarray:
    """The share of the votes (N, answers) that the most frequent answer has, float64 (N,); nan without any."""
    total = votes.sum(axis=1)
    return np.divide(votes.max(axis=1), total, out=np.full(len(votes), np.nan), where=total > 0)


def strata(values: np.ndarray, limits: Sequence[float], unit: str) -> dict[str, np.ndarray]:
    """The faces between each two limits, bool (N,), by the name of the stratum; nan lies nowhere."""
    edges = [-np.inf, *limits, np.inf]
    names = [f"below {limits[0]:g}{unit}"]
    names += [f"{low:g} to {high:g}{unit}" for low, high in pairwise(limits)]
    names.append(f"{limits[-1]:g}{unit} and more")
    return {
        name: (values >= low) & (values < high)
        for name, low, high in zip(names, edges, edges[1:], strict=False)
    }


def _traits(evaluated: EvaluatedRun) -> Columns:
    """The value by which each face falls into a stratum; nan where it is not known."""
    traits = {
        "yaw_deg": np.where(evaluated.located, head_yaw_deg(evaluated.landmarks), np.nan),
        "brightness": brightness_of(evaluated.faces),
    }
    votes = evaluated.workspace.load_votes(evaluated.split)
    if votes is not None:
        traits["agreement"] = agreement_of(evaluated.sampled(votes))
    return traits


def _strata_figures(clean: np.ndarray, traits: Columns, clusters: np.ndarray) -> dict[str, Any]:
    by = {
        "head yaw": strata(np.abs(traits["yaw_deg"]), YAW_LIMITS_DEG, "°"),
        "brightness": strata(traits["brightness"], BRIGHTNESS_LIMITS, ""),
    }
    if "agreement" in traits:
        by["agreement of FER+ votes"] = strata(traits["agreement"], AGREEMENT_LIMITS, "")
    return {
        trait: {
            name: {
                "faces": int(members.sum()),
                "accuracy": mean_or_none(clean[members]),
                "accuracy_interval": _interval(np.where(members, clean, np.nan), clusters),
            }
            for name, members in by_stratum.items()
        }
        for trait, by_stratum in by.items()
    }


def _interval(values: np.ndarray, clusters: np.ndarray) -> list[float | None]:
    (low,), (high,) = mean_interval(values, clusters)
    return numbers_or_none([low, high])


# --- tables -------------------------------------------------------------------------------------------------


def robustness_tables(scores: list[dict[str, Any]], reference: str | None = None) -> list[Table]:
    """mCE against a run, accuracy by corruption, by severity and by stratum.

    `reference` is the run whose CE is 100%, by its name or as tables call it; None is the first. Raises UserError where
    it is not there.
    """
    named = [run for run in scores if reference in (None, run["run"], run.get("run_label"))]
    if not named:
        names = ", ".join(run["run"] for run in scores)
        raise UserError(f"--reference {reference}: no such run among those scored; there are {names}")
    against = named[0]
    return [
        _corruption_error_table(scores, against),
        _accuracy_table(scores),
        *map(_severity_table, scores),
        *(_stratum_table(scores, trait) for trait in scores[0]["strata"]),
    ]


def robustness_over_seeds(results: Results) -> list[Table]:
    """Accuracy by corruption, a row a condition, where one has several seeds."""
    rows = rows_of_seeds(results.scores)
    if not rows:
        return []
    measures = [partial(_share_of_severities, name) for name in CORRUPTIONS]
    return [
        Table(
            f"accuracy on {results.scores[0]['split']} under corruption, mean over five severities and over seeds",
            ["model", "seeds", "clean", *CORRUPTIONS],
            [
                [
                    row.label,
                    row.seeds,
                    over_seeds(run["clean_accuracy"] for run in row.runs),
                    *seed_cells(row, results.columns, measures, results.clusters, PROPORTION),
                ]
                for row in rows
            ],
            [NOTE],
        )
    ]


def _share_of_severities(corruption: str, columns: Columns) -> np.ndarray:
    return columns[f"right_{corruption}"] / SEVERITIES


def _corruption_error_table(scores: list[dict[str, Any]], against: dict[str, Any]) -> Table:
    reference_errors, reference_clean = _errors(against)
    reference_relative = above_clean(reference_errors, reference_clean)
    shared = list(reference_errors)
    rows = []
    for run in scores:
        errors, clean = _errors(run)
        error_by_corruption = corruption_errors(errors, reference_errors)
        relative = mean_corruption_error(above_clean(errors, clean), reference_relative)
        rows.append(
            [
                run_label(run),
                percent(1 - run["clean_accuracy"]),
                percent(mean_corruption_error(errors, reference_errors)),
                percent(relative),
                *(percent(error_by_corruption[name]) for name in shared),
            ]
        )
    return Table(
        f"corruption error on {against['split']}, {run_label(against)} being 100%",
        ["run", "clean error", "mCE", "relative mCE", *shared],
        rows,
        [
            "CE: errors over five severities, divided by those of the reference. mCE: mean of CE over corruptions. "
            "Relative "
            "mCE: the same for the errors that corruption adds to the clean ones (Hendrycks and Dietterich 2019); a "
            "dash "
            "where it adds none to the reference's. Below 0%: fewer errors than on clean faces."
        ],
    )


def _errors(run: dict[str, Any]) -> tuple[dict[str, list[float]], dict[str, float]]:
    seen = {name: figures for name, figures in run["corruptions"].items() if figures["faces"]}
    return {name: figures["error"] for name, figures in seen.items()}, {
        name: figures["clean_error"] for name, figures in seen.items()
    }


def _accuracy_table(scores: list[dict[str, Any]]) -> Table:
    first = scores[0]
    occluded = {figures["faces"] for figures in first["corruptions"].values()}
    return Table(
        f"accuracy on {first['split']} under corruption, mean over five severities, with 95% intervals",
        ["run", "clean", *first["corruptions"]],
        [
            [
                run_label(run),
                with_interval(run["clean_accuracy"], run["clean_interval"]),
                *(
                    with_interval(figures["accuracy"], figures["accuracy_interval"])
                    for figures in run["corruptions"].values()
                ),
            ]
            for run in scores
        ],
        [f"{max(occluded):,} faces. Occluders cover the {min(occluded):,} faces with landmarks only."],
    )


def _severity_table(run: dict[str, Any]) -> Table:
    return Table(
        f"{run_label(run)}: accuracy on {run['split']} by severity",
        ["corruption", "severity in", *map(str, range(1, SEVERITIES + 1))],
        [
            [
                name,
                figures["unit"],
                *(
                    f"{percent(None if error is None else 1 - error)}  ({severity:g})"
                    for error, severity in zip(figures["error"], figures["severities"], strict=True)
                ),
            ]
            for name, figures in run["corruptions"].items()
        ],
    )


def _stratum_table(scores: list[dict[str, Any]], trait: str) -> Table:
    first = scores[0]["strata"][trait]
    return Table(
        f"accuracy on {scores[0]['split']} by {trait}, with 95% intervals",
        ["run", *(f"{name} ({figures['faces']:,})" for name, figures in first.items())],
        [
            [
                run_label(run),
                *(
                    with_interval(figures["accuracy"], figures["accuracy_interval"])
                    for figures in run["strata"][trait].values()
                ),
            ]
            for run in scores
        ],
    )


# --- the suite ----------------------------------------------------------------------------------------------


ROBUSTNESS = Suite(
    name="robustness",
    explains=False,
    score=lambda evaluated, settings: score_robustness(evaluated, seed=settings.seed),
    show=lambda results: (
        {},
        [*robustness_over_seeds(results), *robustness_tables(results.scores, results.settings.reference)],
    ),
    inputs=model_files,
    recorded=lambda settings: {"seed": settings.seed},
    revision=2,
    revision_of_views=3,
)
