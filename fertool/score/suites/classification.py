"""The suite `classification`: how well a run classifies, by the measures that the field reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from fertool.prepare.twins import NEAR
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.tables import (
    Group,
    Scores,
    groups,
    over_seeds,
    run_label,
    seed_notes,
    with_interval,
)
from fertool.score.settings import ScoreSettings
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.json_numbers import named_intervals, with_intervals
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.input_files import prediction_files
from fertool.score.suites.suite import Suite
from fertool.score.suites.tta import tta_logits
from fertool.score.suites.unshared_classes import unshared_classes, unshared_tables
from fertool.summary import Table

CALIBRATION_BINS = 15


def score_classification(evaluated: EvaluatedRun, tta: str | None = None) -> tuple[Figures, Columns]:
    """Figures over all faces, over those without and with a twin in train (identical, near), and by the crowd's labels.

    For an adopted network also those of `unshared_classes`; with `tta`, a test-time augmentation by its name, those of
    the predictions with it.
    """
    labels, predicted = evaluated.labels, evaluated.predicted
    probabilities = softmax(evaluated.logits, axis=1)
    confidence = probabilities.max(axis=1)
    leaked = evaluated.has_twin_in_train

    def on(faces: np.ndarray, against: np.ndarray = labels) -> Figures | None:
        if not faces.any():
            return None
        return classification_figures(
            predicted[faces], against[faces], confidence[faces], evaluated.clusters[faces], evaluated.classes
        )

    everyone = np.ones(len(labels), dtype=bool)
    figures = (on(everyone) or {}) | {
        "without_twins_in_train": on(~leaked),
        "with_twins_in_train": on(leaked),
    }
    near = evaluated.has_near_twin_in_train
    if near is not None:
        figures |= {"without_near_twins_in_train": on(~near), "with_near_twins_in_train": on(near)}
    if tta is not None:
        several = tta_logits(evaluated, tta)
        figures["tta"] = {
            "name": tta,
            **classification_figures(
                several.argmax(axis=1),
                labels,
                softmax(several, axis=1).max(axis=1),
                evaluated.clusters,
                evaluated.classes,
            ),
        }
    crowd = crowd_labels_of(evaluated)
    if crowd is not None:
        agreed = crowd >= 0
        figures["ferplus"] = {
            "against the crowd's labels": on(agreed, crowd),
            "against the labels used, on the same faces": on(agreed),
        }
    columns: Columns = {
        "label": labels,
        "predicted": predicted,
        "correct": (predicted == labels).astype(int),
        "confidence": confidence,
        "twin_in_train": leaked.astype(int),
        **({} if near is None else {"near_twin_in_train": near.astype(int)}),
    }
    unshared, more = unshared_classes(evaluated, on)
    return figures | unshared, columns | more


def crowd_labels_of(evaluated: EvaluatedRun) -> np.ndarray | None:
    """The crowd's majority, a class code int64 (N,), -1 where there is none; None without votes."""
    from fertool.prepare.ferplus import ANSWERS, crowd_labels

    votes = evaluated.workspace.load_votes(evaluated.split)
    if votes is None:
        return None
    codes, _ = crowd_labels(evaluated.sampled(votes))
    names = [ANSWERS[code] if code >= 0 else None for code in codes]
    return np.array([evaluated.classes.index(name) if name in evaluated.classes else -1 for name in names])


def classification_figures(
    predicted: np.ndarray,
    labels: np.ndarray,
    confidence: np.ndarray,
    clusters: np.ndarray,
    classes: list[str],
) -> Figures:
    """Accuracy, precision, recall and F1 of each class, macro and weighted, MCC, calibration, confusion matrix.

    In the matrix rows are true classes, columns are predicted ones. A class that is never predicted has precision 0;
    one without faces does not count for the balanced accuracy and the macro means. The expected calibration error is
    sum_b n_b/N |accuracy_b - confidence_b| over 15 equal bins of confidence (Guo et al. 2017, 'On Calibration of
    Modern Neural Networks', equation 3).

    Args:
        predicted: class codes int64 (N,).
        labels: class codes int64 (N,).
        confidence: the predicted class's probability (N,), 0 to 1.
        clusters: numbers that faces share which are not independent, (N,), as for `resample_means`.
        classes: names of the classes, in the order of their codes.

    Returns:
        The figures, with 95% intervals under `intervals`.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    codes = list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=codes, zero_division=0
    )
    by_class = {"precision": precision, "recall": recall, "f1": f1}
    there = support > 0
    matrix = confusion_matrix(labels, predicted, labels=codes)
    return {
        "faces": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(recall[there].mean()),
        "mcc": float(_correlation(matrix / len(labels))),
        "ece": _calibration_error(_calibration_sums(confidence, predicted == labels).mean(axis=0)),
        "per_class": {
            name: {
                **{measure: float(values[code]) for measure, values in by_class.items()},
                "faces": int(support[code]),
            }
            for code, name in enumerate(classes)
        },
        "macro": {name: float(values[there].mean()) for name, values in by_class.items()},
        "weighted": {name: float(np.average(values, weights=support)) for name, values in by_class.items()},
        "intervals": _intervals(predicted, labels, confidence, clusters, len(classes)),
        "confusion": matrix.tolist(),
    }


def _intervals(
    predicted: np.ndarray, labels: np.ndarray, confidence: np.ndarray, clusters: np.ndarray, classes: int
) -> dict[str, list[float | None]]:
    """95% limits of the measures, all functions of the confusion matrix and of the calibration bins' sums.

    None where all faces are of one cluster.
    """
    cells = np.eye(classes * classes)[labels * classes + predicted]
    sums = _calibration_sums(confidence, predicted == labels)
    means = resample_means(np.concatenate([cells, sums], axis=1), clusters)
    measures = means.apply(lambda values: _measures(values, classes))
    names = ["accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc", "ece"]
    return named_intervals(names, measures)


def _measures(values: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrices as shares of all faces, (..., C^2 + 2 bins) -> (..., 6) measures."""
    matrix = values[..., : classes * classes].reshape(*values.shape[:-1], classes, classes)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    true, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    accuracy = hits.sum(axis=-1)
    there = true > 0  # a class that a resample has no face of does not count
    classes_there = there.sum(axis=-1)
    recall = np.where(there, hits / true, 0).sum(axis=-1) / classes_there
    f1 = np.where(true + predicted > 0, 2 * hits / (true + predicted), 0)
    bins = values[..., classes * classes :]
    return np.stack(
        [
            accuracy,
            recall,
            np.where(there, f1, 0).sum(axis=-1) / classes_there,
            (f1 * true).sum(axis=-1),
            _correlation(matrix),
            _calibration_error(bins),
        ],
        axis=-1,
    )


def _correlation(matrix: np.ndarray) -> np.ndarray:
    """Matthews' correlation of confusion matrices as shares of all faces, (..., C, C) -> (...); 0 where undefined.

    Gorodkin 2004, 'Comparing two K-category assignments by a K-category correlation coefficient', equation 8.
    """
    true, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    covariance = np.trace(matrix, axis1=-2, axis2=-1) - (true * predicted).sum(axis=-1)
    apart = (1 - (true**2).sum(axis=-1)) * (1 - (predicted**2).sum(axis=-1))
    spread = np.sqrt(apart.clip(min=0))  # of one class alone 0, or by rounding a little less
    # the root of what rounding leaves of a spread of zero is some 1e-8
    return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-7)


def _calibration_sums(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """In each face's own bin its hit less its confidence, 0 in the others: (N, bins)."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return np.eye(CALIBRATION_BINS)[bins] * (correct - confidence)[:, None]


def _calibration_error(mean_of_bins: np.ndarray) -> Any:
    error = np.abs(mean_of_bins).sum(axis=-1)
    return error if error.ndim else float(error)


def classification_tables(
    scores: Scores, columns: dict[str, Columns], clusters: np.ndarray, *, on_own_faces: bool = True
) -> tuple[dict[str, Any], list[Table]]:
    """Runs by measures, then those with and without twins and against the crowd, then each run's classes.

    Args:
        scores: the runs' figures.
        columns: their values a face, by run.
        clusters: the faces' clusters, (N,).
        on_own_faces: whether the faces are of the workspace that the runs were trained in; `--drop-leaks`
            knew nothing of others, whose twins all runs had trained on.

    Returns:
        Each row's accuracy, with its interval over images and seeds, and the tables.
    """
    rows, first = groups(scores), scores[0]
    joint = {group.name: _joint_accuracy(group, columns, clusters) for group in rows}
    clean = first["without_twins_in_train"]
    measures = {
        "balanced": lambda run: run["balanced_accuracy"],
        "macro P": lambda run: run["macro"]["precision"],
        "macro R": lambda run: run["macro"]["recall"],
        "macro F1": lambda run: run["macro"]["f1"],
        "weighted F1": lambda run: run["weighted"]["f1"],
        "MCC": lambda run: run["mcc"],
        "ECE": lambda run: run["ece"],
        "no twins in train": lambda run: (
            run["without_twins_in_train"] and run["without_twins_in_train"]["accuracy"]
        ),
    }
    if all(run.get("without_near_twins_in_train") for run in scores):
        measures |= {"no near twins in train": lambda run: run["without_near_twins_in_train"]["accuracy"]}
    if all("tta" in run for run in scores):
        measures |= {f"with {first['tta']['name']}": lambda run: run["tta"]["accuracy"]}
    overall = Table(
        f"classification on {first['split']}: {first['faces']:,} faces",
        ["model", "seeds", "accuracy", *measures],
        [
            [
                group.label,
                group.seeds,
                _accuracy_cell(group, joint[group.name]),
                *(over_seeds(measure(run) for run in group.runs) for measure in measures.values()),
            ]
            for group in rows
        ],
        [
            *seed_notes(rows),
            *([] if clean and clean["faces"] == first["faces"] else [_left_without_twins(clean)]),
            *_left_without_near_twins(first),
        ],
    )
    # of one run its classes are what there is to see, of many they are a wall
    by_class = [_class_table(run, detail=len(scores) > 1) for run in scores]
    leaks = _leak_tables(scores) if on_own_faces else []
    tables = [overall, *unshared_tables(scores), *leaks, *_crowd_tables(scores), *by_class]
    return {"joint": joint}, tables


def _joint_accuracy(group: Group, columns: dict[str, Columns], clusters: np.ndarray) -> dict[str, Any]:
    """The mean accuracy of a row's runs, with its 95% interval over images and, with several seeds, over seeds."""
    correct = np.stack([columns[run["run"]]["correct"] for run in group.runs])
    return with_intervals(["accuracy"], resample_means(correct[:, :, None], clusters), PROPORTION)


def _accuracy_cell(group: Group, joint: dict[str, Any]) -> str:
    """The accuracy with its interval; of several seeds mean ± deviation [interval]."""
    cell = with_interval(joint["accuracy"], joint["accuracy_interval"])
    if len(group.runs) == 1:
        return cell
    mean, *interval = cell.partition(" [")
    deviation = np.std([run["accuracy"] for run in group.runs], ddof=1)
    return f"{mean} ± {100 * deviation:.1f}{''.join(interval)}"


def _left_without_twins(clean: dict[str, Any] | None) -> str:
    if clean is None:
        return "All faces have an identical twin in train: what is measured here, the models have seen."
    return f"Without those that have an identical twin in train there are {clean['faces']:,} faces."


def _left_without_near_twins(run: dict[str, Any]) -> list[str]:
    clean = run.get("without_near_twins_in_train")
    if not clean or clean["faces"] == run["faces"]:
        return []
    return [
        f"Without those that have a near twin in train, a copy with other pixels, there are {clean['faces']:,} faces."
    ]


def _accuracy_of(figures: dict[str, Any] | None) -> str:
    return with_interval(figures["accuracy"], figures["intervals"]["accuracy"]) if figures else "-"


def _leak_tables(scores: Scores) -> list[Table]:
    """Accuracy on the faces with a twin in train, of runs that trained on the twins or did not."""
    if not any(run["config"].get("drop_leaks") for run in scores):
        return []
    return [*_leak_table(scores, "twins", (True, NEAR)), *_leak_table(scores, "near_twins", (NEAR,))]


def _leak_table(scores: Scores, twins: str, dropped: Sequence[Any]) -> list[Table]:
    """The table of one kind of twins, which a training with one of these values of `drop_leaks` left out."""
    there, others = f"with_{twins}_in_train", f"without_{twins}_in_train"
    if not scores[0].get(there) or any(there not in run for run in scores):
        return []
    return [
        Table(
            f"the leak: the {scores[0][there]['faces']:,} faces with a {twins[:-1].replace('_', ' ')} in train",
            ["run", "trained on the twins", "accuracy on them", "on all others"],
            [
                [
                    run_label(run),
                    "no" if run["config"].get("drop_leaks") in dropped else "yes",
                    *(_accuracy_of(figures) for figures in (run[there], run[others])),
                ]
                for run in scores
            ],
        )
    ]


def _crowd_tables(scores: Scores) -> list[Table]:
    if "ferplus" not in scores[0]:
        return []
    names = list(scores[0]["ferplus"])
    agreed = scores[0]["ferplus"][names[0]]
    if agreed is None:
        return []
    faces = agreed["faces"]
    return [
        Table(
            f"by the crowd of FER+: the {faces:,} faces on which it agreed",
            ["run", *names],
            [
                [
                    run_label(run),
                    *(_accuracy_of(run["ferplus"][name]) for name in names),
                ]
                for run in scores
            ],
        )
    ]


def _class_table(run: dict[str, Any], *, detail: bool) -> Table:
    return Table(
        f"{run_label(run)}: classes on {run['split']}",
        ["class", "faces", "precision", "recall", "F1"],
        [
            [
                name,
                f"{figures['faces']:,}",
                *(f"{figures[measure]:.1%}" for measure in ("precision", "recall", "f1")),
            ]
            for name, figures in run["per_class"].items()
        ],
        detail=detail,
    )


# --- the suite ----------------------------------------------------------------------------------------------


def _files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    here, trained_in = evaluated.workspace, evaluated.run.trained_in
    if evaluated.is_on_other_faces:
        twins = [trained_in.faces("train"), trained_in.near_twins, here.near_twins]
    else:
        twins = [here.faces_csv("train"), here.near_twins]
    return [*prediction_files(evaluated, settings), *(path for path in twins if path.exists())]


CLASSIFICATION = Suite(
    name="classification",
    explains=False,
    score=lambda evaluated, settings: score_classification(evaluated, settings.tta),
    show=lambda results: classification_tables(
        results.scores,
        results.columns,
        results.clusters,
        on_own_faces=not results.evaluated_runs[0].is_on_other_faces,
    ),
    inputs=_files,
    recorded=lambda settings: {"tta_asked": settings.tta} if settings.tta else {},
    revision=3,
)
