"""`fertool train --epochs 0`: a network that was trained elsewhere becomes a run, its head with it, as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from fertool.errors import UserError
from fertool.models import FaceClassifier, InputSpec, build_model, predict_logits, save_model
from fertool.models.backbones.cnn import INPUT
from fertool.models.backbones.user_network import is_user_network
from fertool.models.classifier import Interpolation
from fertool.models.registry import OWN
from fertool.models.weights.class_order import find_class_order, outputs_for
from fertool.models.weights.files import Checkpoint, read_checkpoint
from fertool.models.weights.load import Taken, load_weights
from fertool.models.weights.sources import Weights
from fertool.runtime.files import write_csv, write_record
from fertool.runtime.hardware import Compute, seed_everything
from fertool.runtime.locks import alone
from fertool.runtime.progress import log
from fertool.runtime.ranks import started_as_first
from fertool.summary import Summary
from fertool.train.config import TrainConfig
from fertool.train.run_record import (
    begin_anew,
    earlier_record,
    run_record,
    training_made_from,
    training_summary,
)
from fertool.train.splits import load_val_split
from fertool.workspace import Run, Workspace

UNKNOWN_DATA = (
    "trained elsewhere: nothing is known of the data that it was trained on, so a leak cannot be ruled out"
)
# how a pixel p in 0..1 is written in each range: p * scale + offset
PIXEL_RANGES = {"0-1": (1.0, 0.0), "0-255": (255.0, 0.0), "-1-1": (2.0, -1.0)}


@dataclass(frozen=True)
class Adopted:
    """A network that was trained elsewhere, and what is known of where it came from."""

    model: FaceClassifier  # its outputs in the order of the data set's classes
    origin: dict[str, Any]  # `adopted` in run.json


def adopt_run(
    workspace: Workspace, config: TrainConfig, weights: Weights, run: Run, compute: Compute, *, force: bool
) -> Summary:
    """Register a finished network as a run, evaluated on val.

    Args:
        workspace: where the faces lie, and where the run is kept.
        config: the model, with `class_order` and the preprocessing that its weights expect.
        weights: the file; none for a user's own network whose function loads them.
        run: the run that it becomes.
        compute: device and number format.
        force: adopt it again where it was adopted before.

    Raises:
        UserError: there are no weights, the order of the classes is not known, or the file does not fit the model.
    """
    adopted = adopt_with_head(config, weights, workspace.dataset()["classes"])
    return register(workspace, config, weights, adopted, run, compute, force=force)


def require_finished(config: TrainConfig, weights: Weights) -> None:
    """Raise UserError where nothing says what the weights of a finished network are."""
    if weights.path is None and not is_user_network(config.model):
        raise UserError(
            f"{'--keep-head' if config.epochs else '--epochs 0'} takes a finished network as it is: give its file as "
            "--weights FILE, or a function of your own that loads it as --model package.module:function"
        )


def stored_checkpoint(weights: Weights) -> Checkpoint:
    """The content of the file of weights; empty where there is none."""
    return Checkpoint({}) if weights.path is None else read_checkpoint(weights.path)


def adopt_with_head(config: TrainConfig, weights: Weights, classes: list[str]) -> Adopted:
    """The network of a file with its own head, as it is. Raises UserError as `adopt_run` does."""
    require_finished(config, weights)
    checkpoint = stored_checkpoint(weights)
    where = str(weights.path or config.model)
    order = find_class_order(config.class_order, {**(checkpoint.more or {}), **weights.labels}, where)
    missing = [name for name in classes if name not in order]
    if missing and config.epochs:
        raise UserError(
            f"--keep-head: the network has no output for {', '.join(missing)}, which it cannot learn; leave "
            "--keep-head out, and it gets a new head"
        )
    model, taken = adopted_model(config, weights, classes, order)
    prefix = taken.prefix if taken else ""
    return Adopted(model, origin_of(weights, model, classes, order, part=checkpoint.part, prefix=prefix))


def origin_of(
    weights: Weights,
    model: FaceClassifier,
    classes: list[str],
    order: list[str],
    *,
    part: str = "",
    prefix: str = "",
) -> dict[str, Any]:
    """Where an adopted network comes from, its classes and its preprocessing: `adopted` in run.json.

    Args:
        weights: where its weights come from.
        model: the network.
        classes: those of the data set.
        order: the classes of its outputs, in their order.
        part: the entry of the file that holds the weights. Default: none, the file holds nothing else.
        prefix: of the weights' names in the file.

    Returns:
        An object for JSON.
    """
    return {
        "file": weights.source,
        "sha256": weights.sha256,
        "part": part,
        "prefix": prefix,
        "class_order": order,
        "not_its_classes": [name for name in classes if name not in order],
        "left_out": [name for name in order if name not in classes],
        "preprocessing": preprocessing_of(model.input_spec),
    }


def register(
    workspace: Workspace,
    config: TrainConfig,
    weights: Weights,
    adopted: Adopted,
    run: Run,
    compute: Compute,
    *,
    force: bool,
) -> Summary:
    """Write an adopted network as a run, with its accuracy on val.

    Args:
        workspace: where the faces lie, and where the run is kept.
        config: the settings that the record keeps.
        weights: where the weights come from.
        adopted: the network.
        run: the run that it becomes.
        compute: device and number format.
        force: write it again where it is there already.

    Raises:
        UserError: the run's name is taken by other settings, or faces are missing.
    """
    made_from = training_made_from(workspace, config, adopted.model, weights)
    earlier = earlier_record(run, config, made_from, force)
    if earlier and earlier["state"] == "done":
        workspace.require_intact(run.run_json, run.best)
        return training_summary(run, "was adopted already; --force adopts it again")
    model = adopted.model
    val = load_val_split(workspace, config, model, 1)
    with run.locked():
        with alone([workspace.dataset_json]):
            begin_anew(run)
            record = run_record(
                workspace, run, config, compute, workspace.dataset(), model, weights, made_from
            )
            write_record(run.run_json, {**record, "state": "running"})
        save_model(model, run.best)
        logits = predict_logits(model.to(compute.device).eval(), val.faces, compute, val.boxes)
        write_csv(run.timing_csv, ["epoch", "epoch_s"], [])
        best = {"epoch": 0, "val_accuracy": float(np.mean(logits.argmax(axis=1) == val.labels))}
        products = workspace.products(run.run_json, [run.best])
        done = {"state": "done", "best": best, "adopted": adopted.origin, "products": products}
        write_record(run.run_json, {**record, **done})
    summary = training_summary(run, UNKNOWN_DATA)
    notes = [f"{run.name}: {note}" for note in _unshared_notes(adopted.origin)]
    return replace(summary, notes=[*summary.notes, *notes])


def _unshared_notes(origin: Mapping[str, Any]) -> list[str]:
    """Classes that network and data set do not share: a name that is spelt wrong shows here, before any score."""
    notes = []
    if lacking := origin["not_its_classes"]:
        notes.append(f"never predicts {', '.join(lacking)}, for none of its outputs is called so")
    if left_out := origin["left_out"]:
        notes.append(
            f"outputs left out of the softmax, for no face here is of their class: {', '.join(left_out)}"
        )
    return notes


def adopted_model(
    config: TrainConfig, weights: Weights, classes: list[str], order: list[str]
) -> tuple[FaceClassifier, Taken | None]:
    """The network with its own head, whose outputs are brought into the order of the data set's classes."""
    return finished_network(config, weights, len(classes), len(order), outputs_for(classes, order))


def finished_network(
    config: TrainConfig, weights: Weights, classes: int, network_classes: int, outputs: Sequence[int] | None
) -> tuple[FaceClassifier, Taken | None]:
    """The network with its own head, and what it took of the file.

    Args:
        config: the model, and the preprocessing that its weights expect.
        weights: the file; none for a network that brings its weights.
        classes: number of logits.
        network_classes: number of the network's own outputs.
        outputs: the number of its output for each logit, see `build_model`; None: its outputs as they are.
    """
    model = network_of(config, weights, classes, network_classes, outputs)
    if (taken := load_weights(model, weights, keep_head=True)) is not None and started_as_first():
        log.info("weights %s: %s", weights.name, taken)
    return model, taken


def network_of(
    config: TrainConfig,
    weights: Weights,
    classes: int,
    network_classes: int,
    outputs: Sequence[int] | None,
) -> FaceClassifier:
    """The network of `finished_network` before it takes the file's weights."""
    seed_everything(config.seed)
    mean, std = statistics(config, _channels(config, weights))
    model = build_model(
        config.model,
        classes,
        dropout=config.dropout if config.epochs else None,
        drop_path=config.drop_path if config.epochs else None,
        image_size=config.image_size,
        variant=weights.variant,
        cam_layer=config.cam_layer,
        channels=config.channels,
        mean=mean or weights.mean,
        std=std or weights.std,
        bgr=config.bgr or None,
        interpolation=cast("Interpolation | None", config.interpolation),
        crop_scale=config.crop_scale,
        network_classes=network_classes,
        outputs=outputs,
        architecture=weights.architecture,
    )
    if config.bgr and model.input_spec.channels == 1:
        raise UserError(f"--bgr: {config.model} takes grey pictures; leave the option out")
    return model


def _channels(config: TrainConfig, weights: Weights) -> int:
    """The channels of the network's input, before it is built."""
    if weights.architecture is not None:
        return int(weights.architecture["input"]["channels"])
    return INPUT.channels if config.model in OWN else config.channels or 3


def statistics(
    config: TrainConfig, channels: int = 3
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation of the input for pixels in 0..1, from those that are given for `pixel_range`.

    A range without statistics means pixels in that range as they are, in all `channels`.
    """
    if config.pixel_range is None:
        return config.mean, config.std
    scale, offset = PIXEL_RANGES[config.pixel_range]
    channels = len(config.mean or config.std or (0,) * channels)
    mean, std = config.mean or (0.0,) * channels, config.std or (1.0,) * channels
    return tuple((value - offset) / scale for value in mean), tuple(value / scale for value in std)


def preprocessing_of(spec: InputSpec) -> dict[str, Any]:
    """The preprocessing of a model, for run.json."""
    return {
        "image_size": spec.size,
        "channels": spec.channels,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "bgr": spec.bgr,
        "interpolation": spec.interpolation,
        "crop_scale": spec.crop_scale,
    }
