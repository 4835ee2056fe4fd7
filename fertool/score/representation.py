"""What a network's stages know of the emotion, before and after training, and how alike stages are.

Linear probes (Alain and Bengio 2016, 'Understanding intermediate layers using linear classifier probes'): a
logistic regression on the pooled features of each stage, fitted on train, tested on the subject's split. Its
penalty is fixed, so nothing is chosen on test. 'Before' are the weights that the run's training began with. Beside
them linear CKA (`score.cka`) of each stage before and after, and, by `cka_between`, between the stages of two runs.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fertool.download import file_sha256
from fertool.errors import UserError
from fertool.models import FaceClassifier
from fertool.models.weights import FOLDER_VARIABLE, Weights, find_weights, load_weights
from fertool.progress import progress_bar
from fertool.score.cka import linear_cka
from fertool.score.initial_model import initial_model
from fertool.score.intervals import mean_interval
from fertool.score.stages import stage_features
from fertool.score.subject import Columns, Figures, Subject
from fertool.score.tables import number_or_none, with_interval
from fertool.summary import Table

# C of scikit-learn's LogisticRegression, the inverse strength of its L2 penalty: of 0.001 to 1 the best for the late
# stages of `cnn` on FER2013's val split (early ones, of few channels, gain up to 2 points from 1)
PENALTY = 0.01
MOST_ITERATIONS = 300
CKA_FACES = 4_000

Stages = Mapping[str, np.ndarray]
"""Pooled features (N, channels) of the same faces, by stage."""


def score_representation(
    subject: Subject,
    initial: FaceClassifier | None = None,
    train_faces: int | None = None,
    seed: int = 0,
) -> tuple[Figures, Columns]:
    """Accuracy of a linear probe on each stage before and after training, and their CKA.

    `initial` holds the weights that training began with; None makes them again, from the run's recipe, its seed
    and what its backbone was pretrained on. Probes are fitted on all of train, or on a random sample of
    `train_faces` of it by seed, for networks that take long over a face. Columns: `right_before_<stage>` and
    `right_after_<stage>`, 0 or 1 a face.
    """
    models = {"before": initial or _initial(subject), "after": subject.model}
    train, train_labels, train_boxes = _train_sample(subject, train_faces, seed)
    right: dict[tuple[str, str], np.ndarray] = {}
    tested: dict[str, Stages] = {}
    channels: dict[str, int] = {}
    for when, model in models.items():
        fitted = stage_features(model, train, subject.compute, train_boxes)
        tested[when] = stage_features(model, subject.faces, subject.compute, subject.boxes)
        channels = {stage: features.shape[1] for stage, features in fitted.items()}
        with progress_bar(f"{subject.run.name}: probes {when} training", len(fitted), "probes") as bar:
            for stage, features in fitted.items():
                predicted = probe(features, train_labels, tested[when][stage])
                right[when, stage] = predicted == subject.labels
                bar.update(1)
    low, high = mean_interval(np.column_stack(list(right.values())).astype(float), subject.clusters)
    limits = dict(zip(right, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    rows = _cka_sample(len(subject.faces))
    figures: Figures = {
        "faces": len(subject.labels),
        "train_faces": len(train),
        "penalty": PENALTY,
        "seed": seed,
        "stages": [
            {
                "stage": stage,
                "channels": count,
                **{
                    when: {
                        "accuracy": float(right[when, stage].mean()),
                        "interval": [number_or_none(limit) for limit in limits[when, stage]],
                    }
                    for when in models
                },
                "cka": _known(linear_cka(tested["before"][stage][rows], tested["after"][stage][rows])),
            }
            for stage, count in channels.items()
        ],
    }
    columns = {f"right_{when}_{stage}": values.astype(np.int64) for (when, stage), values in right.items()}
    return figures, columns


def probe(features: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Classes (M,) of `tested` features (M, p) by a logistic regression on `features` (N, p), `labels` (N,).

    Features are standardised by the mean and deviation of those that it is fitted on.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=MOST_ITERATIONS))
    with warnings.catch_warnings():
        # the last digits of its weights are of no interest
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels)
    return model.predict(tested)


def cka_between(first: Subject, second: Subject) -> Figures:
    """Linear CKA of every stage of one run with every stage of another, on the same faces.

    Raises UserError where the two are scored on other faces.
    """
    same = first.workspace.fingerprint(first.workspace.faces(first.split)) == second.workspace.fingerprint(
        second.workspace.faces(second.split)
    )
    if not same:
        raise UserError(f"CKA of {first.run.name} and {second.run.name}: they are scored on different faces")
    rows = _cka_sample(len(first.faces))
    faces = np.array(first.faces[rows])
    ours, theirs = (
        stage_features(one.model, faces, one.compute, None if one.boxes is None else one.boxes[rows])
        for one in (first, second)
    )
    return {
        "runs": [first.run.name, second.run.name],
        "split": first.split,
        "faces": len(rows),
        "stages": [list(ours), list(theirs)],
        "cka": [[_known(linear_cka(ours[one], theirs[other])) for other in theirs] for one in ours],
    }


def _initial(subject: Subject) -> FaceClassifier:
    record = subject.run.config()
    model = initial_model(subject.model.recipe, record["config"]["seed"], subject.compute.device)
    if record.get("weights", "none") != "none":
        load_weights(model, _pretrained(subject, record))
    return model


def _pretrained(subject: Subject, record: Mapping[str, Any]) -> Weights:
    """The weights that a run began with: the file that it names, else what its setting means now."""
    source, sha256 = record["pretraining"]["source"], record["pretraining"]["sha256"]
    path = Path(source)
    if path.is_file() and file_sha256(path) == sha256:
        return Weights(record["weights"], path, sha256, source)
    weights = find_weights(record["model"], record["config"]["weights"])
    if weights.sha256 != sha256:
        raise UserError(
            f"{subject.run.folder}: began with the weights {source}, and others are found now; name their "
            f"folder in {FOLDER_VARIABLE}"
        )
    return weights


def _train_sample(
    subject: Subject, most: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Faces, labels and, where the model asks, boxes of train."""
    faces, labels = (
        subject.workspace.load_faces("train"),
        subject.workspace.load_labels("train", subject.classes),
    )
    rows = np.sort(np.random.default_rng(seed).permutation(len(faces))[:most])
    if len(np.unique(labels[rows])) < 2:
        raise UserError(f"{subject.workspace.root}: train has faces of one class only; a probe needs two")
    boxes = subject.workspace.load_boxes("train")[rows] if subject.model.needs_boxes else None
    return np.array(faces[rows]), labels[rows], boxes


def _cka_sample(faces: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(faces)[:CKA_FACES])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


# --- tables -------------------------------------------------------------------------------------------------


def representation_tables(scores: list[dict[str, Any]]) -> list[Table]:
    """A table for each set of stages: runs by stages, probes before and after training, and their CKA."""
    tables = []
    for stages in dict.fromkeys(_names(run) for run in scores):
        runs = [run for run in scores if _names(run) == stages]
        first = runs[0]
        tables.append(
            Table(
                f"linear probes on {first['split']}: accuracy by stage, before and after training",
                ["run", "weights", *(f"{of['stage']} ({of['channels']})" for of in first["stages"])],
                [row for run in runs for row in _rows(run)],
                [
                    f"logistic regression (C = {first['penalty']:g}) on standardised pooled features, fitted on "
                    f"{first['train_faces']:,} faces of train; channels in brackets, 95% intervals. CKA: "
                    "linear, debiased (Kornblith et al. 2019), of a stage before with itself after.",
                ],
            )
        )
    return tables


def cka_table(figures: Mapping[str, Any]) -> Table:
    """Stages of one run by stages of another, from the figures of `cka_between`."""
    first, second = figures["runs"]
    rows, columns = figures["stages"]
    return Table(
        f"linear CKA of {first} (rows) and {second} (columns) on {figures['split']}",
        ["stage", *columns],
        [
            [stage, *(_two_digits(value) for value in values)]
            for stage, values in zip(rows, figures["cka"], strict=True)
        ],
        [f"debiased, of pooled features of {figures['faces']:,} faces (Kornblith et al. 2019)."],
    )


def _names(run: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((of["stage"], of["channels"]) for of in run["stages"])


def _rows(run: Mapping[str, Any]) -> list[list[str]]:
    probes = [
        [
            run["run"],
            when,
            *(with_interval(of[when]["accuracy"], of[when]["interval"]) for of in run["stages"]),
        ]
        for when in ("before", "after")
    ]
    return [*probes, [run["run"], "CKA", *(_two_digits(of["cka"]) for of in run["stages"])]]


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
