"""`fertool train --epochs 0 --try-preprocessing`: a finished network's accuracy under the usual preprocessings.

Wrong preprocessing is the usual reason why a released checkpoint is worse than its paper says. A few hundred faces of
val are classified under each range of the pixels and each order of the channels; then, for the best of these, under
tighter and wider crops, and under each interpolation. Beside each stands the order of the classes that a confusion
matrix suggests, where it does better: the matrix is of other faces than the accuracy. Nothing is chosen, and test is
never read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.models import FaceClassifier, InputSpec, predict_logits
from fertool.models.backbones.user_network import STATISTICS
from fertool.models.statistics import set_statistics
from fertool.models.weights.class_order import find_class_order, names_in
from fertool.models.weights.files import Checkpoint
from fertool.models.weights.load import outputs_in
from fertool.models.weights.sources import Weights, find_weights
from fertool.runtime.hardware import Compute, choose_compute
from fertool.summary import Summary, Table
from fertool.train.adoption import (
    PIXEL_RANGES,
    finished_network,
    network_of,
    preprocessing_of,
    require_finished,
    stored_checkpoint,
)
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

FACES = 600  # of val: half of them suggest orders of classes, the others are classified
CROPS = (0.8, 0.9, 1.1, 1.25)
INTERPOLATIONS = ("bilinear", "bilinear-plain", "bicubic", "area")
COLUMNS = ["options", "val accuracy", "95%"]
AS_GIVEN = "as given"


@dataclass(frozen=True)
class Trial:
    """A preprocessing, and the options that ask for it beside those that are given."""

    spec: InputSpec
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Faces:
    """Faces of val, uint8 (N, H, W) or (N, H, W, 3), labels int64 (N,), and whether each one suggests orders."""

    pixels: np.ndarray
    labels: np.ndarray
    suggests: np.ndarray


def try_preprocessings(
    workspace: Workspace, config: TrainConfig, *, weights_dir: Path | None = None, device: str = "auto"
) -> Summary:
    """Classify a few hundred faces of val under the usual preprocessings, and list them by their accuracy.

    Args:
        workspace: where the faces lie.
        config: the network, its weights, and what is known of its preprocessing.
        weights_dir: where weights are looked for before the cache and the download.
        device: auto, cpu, cuda or mps.

    Returns:
        The accuracies, best first, with the options that ask for each preprocessing. No run is made.

    Raises:
        UserError: the settings are those of a training, there are no weights, or they do not fit the model.
    """
    if config.epochs:
        raise UserError("--try-preprocessing: looks at a finished network; give --epochs 0")
    weights = find_weights(config.model, config.weights, weights_dir)
    require_finished(config, weights)
    checkpoint = stored_checkpoint(weights)
    classes = workspace.dataset()["classes"]
    given = _order(config, weights, checkpoint)
    outputs = len(given) if given else _outputs(config, weights, checkpoint, len(classes))
    model, _ = finished_network(config, weights, outputs, outputs, None)
    compute = choose_compute(device, config.precision)
    model.to(compute.device).eval()
    found = Measuring(model, _faces(workspace, config.seed), classes, given, compute)
    statistics_given = tuple(
        option
        for option, value in (
            ("--pixel-range", config.pixel_range), ("--mean", config.mean), ("--std", config.std)
        )
        if value is not None
    )  # fmt: skip
    found.measure(
        ranges(model.input_spec, colour=found.faces.pixels.ndim == 4, statistics_given=statistics_given)
    )
    best = found.best
    found.measure(_with(best, crop_scale=crop) for crop in CROPS)
    best = found.best
    found.measure(_with(best, interpolation=name) for name in INTERPOLATIONS)
    return _summary(found)


def _order(config: TrainConfig, weights: Weights, checkpoint: Checkpoint) -> list[str] | None:
    """The order of the outputs' classes, where it is given or stands in the file."""
    known = {**(checkpoint.more or {}), **weights.labels}
    if config.class_order is None and not names_in(known):
        return None
    return find_class_order(config.class_order, known, str(weights.path))


def _outputs(config: TrainConfig, weights: Weights, checkpoint: Checkpoint, classes: int) -> int:
    """The number of the network's outputs, by the head in its file; that of the data set's classes without a file."""
    if weights.path is None:
        return classes
    return outputs_in(network_of(config, weights, classes, classes, None), checkpoint) or classes


def _faces(workspace: Workspace, seed: int) -> Faces:
    labels = workspace.load_labels("val")
    count = min(FACES, len(labels))
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    if count < 4:
        raise UserError(f"{workspace.faces('val')}: {count} faces are too few to compare preprocessings on")
    pixels = workspace.load_faces("val")
    return Faces(np.stack([pixels[row] for row in rows]), labels[rows], np.arange(count) % 2 == 0)


class Measuring:
    """The accuracies of a network under one preprocessing after the other.

    Attributes:
        faces: the faces of val.
        given: the order of the outputs' classes, where it is known.
        rows: a row for each trial, and for each trial with another order of the classes.
        best: the trial with the highest accuracy until now.
    """

    def __init__(
        self,
        model: FaceClassifier,
        faces: Faces,
        classes: list[str],
        given: list[str] | None,
        compute: Compute,
    ) -> None:
        self.faces, self.given = faces, given
        self.rows: list[dict[str, Any]] = []
        self.best = Trial(model.input_spec)
        self._model, self._classes, self._compute = model, classes, compute
        self._best_accuracy = -1.0
        self._tried: set[InputSpec] = set()

    def measure(self, trials: Iterable[Trial]) -> None:
        """Classify the faces under each trial that has not been made yet."""
        for trial in trials:
            if trial.spec in self._tried:
                continue
            self._tried.add(trial.spec)
            rows = self._rows(trial)
            self.rows += rows
            if (accuracy := max(row["accuracy"] for row in rows)) > self._best_accuracy:
                self.best, self._best_accuracy = trial, accuracy

    def _rows(self, trial: Trial) -> list[dict[str, Any]]:
        model, faces = self._model, self.faces
        model.input_spec = trial.spec
        set_statistics(model, trial.spec.mean, trial.spec.std)
        logits = predict_logits(model, faces.pixels, self._compute)
        suggested = suggested_order(
            logits[faces.suggests], faces.labels[faces.suggests], self._classes, self.given
        )
        rows = [
            self._row(trial, logits, order, order is not self.given)
            for order in (self.given, suggested)
            if order is not None
        ]
        return rows if len(rows) == 1 or rows[1]["accuracy"] > rows[0]["accuracy"] else rows[:1]

    def _row(self, trial: Trial, logits: np.ndarray, order: list[str], suggested: bool) -> dict[str, Any]:
        from scipy.stats import binomtest

        outputs = [order.index(name) if name in order else -1 for name in self._classes]
        chosen = np.where(np.array(outputs) < 0, -np.inf, logits[:, outputs])
        correct = (chosen.argmax(axis=1) == self.faces.labels)[~self.faces.suggests]
        interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
        options = [*trial.options, *([f"--class-order {','.join(order)}"] if suggested else [])]
        return {
            "accuracy": float(correct.mean()),
            "interval": [float(interval.low), float(interval.high)],
            "options": " ".join(options),
            "class_order": order,
            "order_is_suggested": suggested,
            "preprocessing": preprocessing_of(trial.spec),
        }


def ranges(given: InputSpec, *, colour: bool, statistics_given: Sequence[str] = ()) -> Iterator[Trial]:
    """Trials with the usual ranges of the pixels, and, where faces and input have colours, both orders of these.

    `statistics_given` are the options with which the user has given statistics, which a trial then replaces.
    """
    channels = given.channels
    statistics = STATISTICS[channels]
    numbers = [",".join(f"{value:g}" for value in values) for values in statistics]
    trials = [Trial(given)]
    for name, (scale, offset) in PIXEL_RANGES.items():
        mean, std = (-offset / scale,) * channels, (1 / scale,) * channels
        written = f"--pixel-range={name}" if name.startswith("-") else f"--pixel-range {name}"
        without = _without(statistics_given, ("--mean", "--std"))
        trials.append(Trial(replace(given, mean=mean, std=std), (written, *without)))
    written = f"--mean {numbers[0]} --std {numbers[1]}"
    without = _without(statistics_given, ("--pixel-range",))
    trials.append(Trial(replace(given, mean=statistics[0], std=statistics[1]), (written, *without)))
    yield from trials
    if colour and channels == 3:
        for trial in trials:
            turned = replace(trial.spec, bgr=not given.bgr)
            yield Trial(turned, (*trial.options, "--bgr" if turned.bgr else "without --bgr"))


def _without(given: Sequence[str], replaced: Sequence[str]) -> tuple[str, ...]:
    """The given options that a trial does without, in words."""
    left_out = [option for option in given if option in replaced]
    return (f"without {' and '.join(left_out)}",) if left_out else ()


def _with(trial: Trial, **change: Any) -> Trial:
    """A trial with another crop or interpolation, in place of the one that it has."""
    (name, value), *_ = change.items()
    option = f"--{name.replace('_', '-')}"
    kept = tuple(one for one in trial.options if not one.startswith(f"{option} "))
    return Trial(replace(trial.spec, **change), (*kept, f"{option} {value}"))


def suggested_order(
    logits: np.ndarray, labels: np.ndarray, classes: list[str], given: list[str] | None
) -> list[str] | None:
    """The order of the outputs under which most of these faces are classified right; None where it is the given one.

    The assignment of outputs to classes that has the largest sum in the confusion matrix (Kuhn 1955, 'The Hungarian
    method for the assignment problem'). An output that no class is left for is called by its number.
    """
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((logits.shape[1], len(classes)), dtype=int)
    np.add.at(confusion, (logits.argmax(axis=1), labels), 1)
    outputs, assigned = linear_sum_assignment(-confusion)
    order = [f"output-{number}" for number in range(logits.shape[1])]
    for output, code in zip(outputs, assigned, strict=True):
        order[output] = classes[code]
    return None if order == given else order


def _summary(found: Measuring) -> Summary:
    rows = sorted(found.rows, key=lambda row: -row["accuracy"])
    suggesting, classified = int(found.faces.suggests.sum()), int((~found.faces.suggests).sum())
    table = Table(
        f"preprocessings, {classified} faces of val",
        COLUMNS,
        [
            [
                row["options"] or AS_GIVEN,
                f"{row['accuracy']:.1%}",
                f"{row['interval'][0]:.1%} to {row['interval'][1]:.1%}",
            ]
            for row in rows
        ],
        ["nothing is chosen and no run is made: give the options that you want with --epochs 0"],
    )
    notes = [f"orders of classes were suggested by {suggesting} other faces of val; test is not looked at"]
    if found.given is None:
        notes.append("the order of the outputs' classes is not known, so every row has a suggested one")
    if found.faces.pixels.ndim == 3:
        notes.append("the faces are grey, so the order of the channels makes no difference here")
    data = {"tried": rows, "faces": classified, "faces_that_suggest_orders": suggesting}
    return Summary(data, [table], notes)
