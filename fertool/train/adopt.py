"""`fertool train --epochs 0`: a network that was trained elsewhere becomes a run, its head with it, as it is."""

from typing import Any, cast

import numpy as np

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model, predict_logits, save_model
from fertool.models.backbones.user_network import is_user_network
from fertool.models.classifier import Interpolation
from fertool.models.weights.class_order import find_class_order, outputs_for
from fertool.models.weights.files import Checkpoint, read_checkpoint
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import Weights
from fertool.runtime.files import write_csv, write_json
from fertool.runtime.hardware import Compute, seed_everything
from fertool.runtime.locks import alone
from fertool.runtime.progress import log
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

UNKNOWN_DATA = "adopted: nothing is known of the data that it was trained on, so a leak cannot be ruled out"
# how a pixel p in 0..1 is written in each range: p * scale + offset
PIXEL_RANGES = {"0-1": (1.0, 0.0), "0-255": (255.0, 0.0), "-1-1": (2.0, -1.0)}


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
    if weights.path is None and not is_user_network(config.model):
        raise UserError(
            "--epochs 0 takes a finished network as it is: give its file as --weights FILE, or a function of your own "
            "that loads it as --model package.module:function"
        )
    classes = workspace.dataset()["classes"]
    checkpoint = Checkpoint({}) if weights.path is None else read_checkpoint(weights.path)
    where = str(weights.path or config.model)
    order = find_class_order(config.class_order, checkpoint.more, where)
    model = adopted_model(config, weights, classes, order)
    made_from = training_made_from(workspace, config, model, weights)
    earlier = earlier_record(run, config, made_from, force)
    if earlier and earlier["state"] == "done":
        workspace.require_intact(run.run_json, run.best)
        return training_summary(run, "was adopted already; --force adopts it again")
    val = load_val_split(workspace, config, model, 1)
    with run.locked():
        with alone([workspace.dataset_json]):
            begin_anew(run)
            record = run_record(
                workspace, run, config, compute, workspace.dataset(), model, weights, made_from
            )
            write_json(run.run_json, {**record, "state": "running"})
        save_model(model, run.best)
        logits = predict_logits(model.to(compute.device).eval(), val.faces, compute, val.boxes)
        write_csv(run.timing_csv, ["epoch", "epoch_s"], [])
        adopted = {
            "file": weights.source,
            "sha256": weights.sha256,
            "part": checkpoint.part,
            "class_order": order,
            "not_its_classes": [name for name in classes if name not in order],
            "left_out": [name for name in order if name not in classes],
            "preprocessing": preprocessing(model),
        }
        best = {"epoch": 0, "val_accuracy": float(np.mean(logits.argmax(axis=1) == val.labels))}
        products = workspace.products(run.run_json, [run.best])
        write_json(
            run.run_json, {**record, "state": "done", "best": best, "adopted": adopted, "products": products}
        )
    return training_summary(run, UNKNOWN_DATA)


def adopted_model(
    config: TrainConfig, weights: Weights, classes: list[str], order: list[str]
) -> FaceClassifier:
    """The network with its own head, whose outputs are brought into the order of the data set's classes."""
    seed_everything(config.seed)
    mean, std = statistics(config)
    model = build_model(
        config.model,
        len(classes),
        image_size=config.image_size,
        variant=weights.variant,
        cam_layer=config.cam_layer,
        channels=config.channels,
        mean=mean or weights.mean,
        std=std or weights.std,
        bgr=config.bgr,
        interpolation=cast("Interpolation | None", config.interpolation),
        network_classes=len(order),
        outputs=outputs_for(classes, order),
    )
    if (taken := load_weights(model, weights, keep_head=True)) is not None:
        log.info("weights %s: %s", weights.name, taken)
    return model


def statistics(config: TrainConfig) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation of the input for pixels in 0..1, from those that are given for `pixel_range`.

    A range without statistics means pixels in that range as they are.
    """
    if config.pixel_range is None:
        return config.mean, config.std
    scale, offset = PIXEL_RANGES[config.pixel_range]
    channels = len(config.mean or config.std or (0,) * (config.channels or 3))
    mean, std = config.mean or (0.0,) * channels, config.std or (1.0,) * channels
    return tuple((value - offset) / scale for value in mean), tuple(value / scale for value in std)


def preprocessing(model: FaceClassifier) -> dict[str, Any]:
    """The preprocessing of a model, for run.json."""
    spec = model.input_spec
    return {
        "image_size": spec.size,
        "channels": spec.channels,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "bgr": spec.bgr,
        "interpolation": spec.interpolation,
    }
