"""`fertool train`: one run, from its name to its weights."""

import contextlib
import os
import shutil
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from fertool.errors import Interrupted, UserError
from fertool.models import FaceClassifier, build_model
from fertool.models.backbones.dlibface import calibrate_norms
from fertool.models.structure.attention_kernel import unfuse_attention
from fertool.models.structure.cam_layer import coarse_map_note
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import Weights, find_weights
from fertool.runtime.files import read_csv, write_record
from fertool.runtime.hardware import Compute, choose_compute, seed_everything
from fertool.runtime.locks import alone
from fertool.runtime.progress import log
from fertool.runtime.ranks import join_ranks, started_as_first
from fertool.summary import Summary
from fertool.train.adoption import UNKNOWN_DATA, adopt_run, adopt_with_head
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import frozen_backbone, trained_parameters
from fertool.train.guidance import check_guidance
from fertool.train.guidance.maps import OF_ATTENTION
from fertool.train.loop import EpochReport, train_run
from fertool.train.precision import agreed_precision, faster_precision
from fertool.train.run_record import (
    begin_anew,
    earlier_record,
    run_record,
    training_made_from,
    training_summary,
)
from fertool.train.splits import TrainingFaces, load_train_split, load_val_split
from fertool.workspace import Run, Workspace

CALIBRATION_FACES = 512


class RunOptions(TypedDict, total=False):
    """The options of `train` that do not change what is trained."""

    name: str | None
    weights_dir: Path | None
    device: str
    force: bool
    resume: bool
    on_epoch: EpochReport | None


def train(
    workspace: Workspace,
    config: TrainConfig | None = None,
    *,
    name: str | None = None,
    weights_dir: Path | None = None,
    device: str = "auto",
    force: bool = False,
    resume: bool = False,
    on_epoch: EpochReport | None = None,
) -> Summary:
    """Train one model on the workspace's train split; the best epoch is chosen on val.

    A run that is done is left alone; one that was interrupted goes on from its last whole epoch.

    Args:
        workspace: where the faces lie, and where the run is kept.
        config: model and settings (default: `TrainConfig()`).
        name: of the run (default: `config.run_name`).
        weights_dir: where pretrained weights are looked for before the cache and the download.
        device: auto, cpu, cuda or mps.
        force: start again from nothing.
        resume: go on with a run that was begun, and begin none.
        on_epoch: called after each epoch with the run's name, a row of history.csv and one of timing.csv.

    Returns:
        The content of run.json, and a table.

    Raises:
        UserError: faces or weights are missing; `name` is taken by other settings or, with `resume`, by nothing;
            another process trains the run; or the loss stops being finite.
        Interrupted: on Ctrl-C, with the epoch from which the next call goes on.
    """
    config = config or TrainConfig()
    if force and resume:
        raise UserError("--force begins again and --resume goes on: leave one out")
    ranks = join_ranks()
    compute = choose_compute(device, config.precision)
    if config.compile:
        _require_compiler(compute)
    dataset = workspace.dataset()
    run = workspace.run(name or config.run_name)
    if resume and not run.run_json.exists():
        raise UserError(
            f"{run.folder}: --resume: no training was begun here; check the settings, or leave --resume out"
        )
    weights = ranks.broadcast_from_rank0(lambda: find_weights(config.model, config.weights, weights_dir))
    if config.epochs == 0:
        return adopt_run(workspace, config, weights, run, compute, force=force)
    adopted = adopt_with_head(config, weights, dataset["classes"]) if config.keep_head else None
    model = adopted.model if adopted else _starting_model(config, weights, len(dataset["classes"]))
    _require_guidable(model, config)
    made_from = ranks.broadcast_from_rank0(
        lambda: training_made_from(workspace, config, model, weights),
    )
    origin = adopted.origin if adopted else None
    training = Training(workspace, config, run, compute, model, weights, made_from, force, origin)
    if (earlier := training.earlier()) and earlier["state"] == "done":
        workspace.require_intact(run.run_json, run.best)
        return training_summary(run, "was done already; --force trains it again")
    # before the run's folder is touched: what is wrong with the faces is said here
    train_split = load_train_split(workspace, config, model)
    val_split = load_val_split(workspace, config, model, ranks.count)
    with contextlib.ExitStack() as held:
        ranks.broadcast_from_rank0(lambda: held.enter_context(run.locked()))
        _train_alone(training, train_split, val_split, on_epoch or _report_nothing)
    return training_summary(run, UNKNOWN_DATA if adopted else None)


@dataclass(frozen=True)
class Training:
    """The network to train, its run, and what both were made from."""

    workspace: Workspace
    config: TrainConfig
    run: Run
    compute: Compute
    model: FaceClassifier
    weights: Weights
    made_from: dict[str, Any]
    force: bool
    origin: dict[str, Any] | None = None  # of a network that was adopted with its head

    def earlier(self) -> dict[str, Any] | None:
        """The record of an earlier call for this run; None where it starts from nothing."""
        return join_ranks().broadcast_from_rank0(
            lambda: earlier_record(self.run, self.config, self.made_from, self.force)
        )


def _train_alone(
    training: Training, train_split: TrainingFaces, val_split: TrainingFaces, on_epoch: EpochReport
) -> None:
    """Train a run that this process holds, from where it stands to its end, and keep its record."""
    ranks, run, config, model = join_ranks(), training.run, training.config, training.model
    earlier = training.earlier()  # once more: another process may have trained the run until now
    if training.weights.folded_norms:
        _calibrate(model, train_split)
    if training.compute.device.type == "cpu":
        unfuse_attention(model)
    with _batch_norms_named(run):
        compute = replace(training.compute, precision=_precision(training, train_split, earlier))
    goes_on = bool(earlier) and run.last.exists()
    record = ranks.broadcast_from_rank0(lambda: _begin(training, compute, goes_on))

    def note(state: str, **more: Any) -> None:
        if ranks.is_first:
            write_record(run.run_json, {**record, "state": state, **more})

    try:
        with _batch_norms_named(run), _interruption_named(training):
            best = train_run(model, config, train_split, val_split, run, compute, on_epoch)
    except UserError as error:
        note("failed", reason=str(error))
        raise
    if ranks.is_first:
        products = training.workspace.products(run.run_json, [run.best, run.last, run.history_csv])
        origin = {} if training.origin is None else {"adopted": training.origin}
        note("done", best=best, **origin, products=products)
    ranks.wait()


def _begin(training: Training, compute: Compute, goes_on: bool) -> dict[str, Any]:
    """Write the record of a run that begins or goes on, and return it without the state.

    `fertool prepare` refuses to replace the faces of runs, so from here on they stay. Raises UserError where it
    replaced them since they were read.
    """
    workspace, run, config, model = training.workspace, training.run, training.config, training.model
    with alone([workspace.dataset_json]):
        if training_made_from(workspace, config, model, training.weights) != training.made_from:
            raise UserError(
                f"{workspace.root}: faces or masks were made anew while this training began; run the same command again"
            )
        if not goes_on:
            begin_anew(run)
        record = run_record(
            workspace, run, config, compute, workspace.dataset(), model, training.weights, training.made_from
        )
        write_record(run.run_json, {**record, "state": "running"})
    return record


def _precision(training: Training, train_split: TrainingFaces, earlier: dict[str, Any] | None) -> str:
    """The number format to train in; what a trial found once is kept, on another machine too."""
    config, compute, model = training.config, training.compute, training.model
    if config.precision != "auto":
        return compute.precision
    if earlier:
        return earlier["hardware"]["precision"]
    if compute.precision != "bf16":
        return compute.precision

    def decide() -> str:
        begun_again = training.run.name if training.force else None
        records = [run.config() for run in training.workspace.runs() if run.name != begun_again]
        agreed = agreed_precision(records, config, model.input_spec.size, compute)
        return agreed or faster_precision(model, train_split, config, compute)

    return join_ranks().broadcast_from_rank0(decide)


@contextlib.contextmanager
def _batch_norms_named(run: Run) -> Generator[None]:
    """Say in one line where a batch norm is given a single value."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # of torch's batch norms
            raise
        raise UserError(
            f"{run.folder}: a batch norm sees one value: take a larger --batch-size or --image-size"
        ) from None


@contextlib.contextmanager
def _interruption_named(training: Training) -> Generator[None]:
    """Say on Ctrl-C from where the next call goes on."""
    try:
        yield
    except KeyboardInterrupt:
        history = training.run.history_csv
        epochs = len(read_csv(history)) if history.exists() else 0
        command = "the same command without --force" if training.force else "the same command"
        raise Interrupted(
            f"{command} goes on from epoch {epochs + 1}" if epochs else "the same command begins again"
        ) from None


def _require_compiler(compute: Compute) -> None:
    # torch looks for these, and for the one that Triton, its launcher of GPU code, needs
    cpu = [os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")]
    cuda = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    compilers = {"cpu": ("C++", cpu), "cuda": ("C", cuda)}
    language, names = compilers.get(compute.device.type, ("", []))
    if names and not any(map(shutil.which, names)):
        raise UserError(
            f"--compile: no {language} compiler '{names[0]}' here; install one, or leave --compile out"
        )


def _require_guidable(model: FaceClassifier, config: TrainConfig) -> None:
    if config.guide is None:
        return
    explainer, _ = check_guidance(model, config.guide_explainer, config.guide_map)
    if explainer in OF_ATTENTION and frozen_backbone(model, trained_parameters(model, config, config.epochs)):
        raise UserError(
            f"--guide: the {explainer} of a frozen backbone stays as it is; let some of it train (--unfreeze, "
            "--freeze-epochs)"
        )


def _starting_model(config: TrainConfig, weights: Weights, classes: int) -> FaceClassifier:
    seed_everything(config.seed)
    model = build_model(
        config.model,
        classes,
        dropout=config.dropout,
        drop_path=config.drop_path,
        image_size=config.image_size,
        variant=weights.variant,
        views=config.views,
        cam_layer=config.cam_layer,
        channels=config.channels,
        mean=config.mean or weights.mean,
        std=config.std or weights.std,
        # the centre that a model of transformers cuts out of photographs would leave out a part of the face
        crop_scale=1.0 if weights.architecture else None,
        architecture=weights.architecture,
    )
    if (taken := load_weights(model, weights)) is not None and started_as_first():
        log.info("weights %s: %s", weights.name, taken)
    if (note := coarse_map_note(model)) is not None and started_as_first():
        log.info("%s", note)
    return model


def _calibrate(model: FaceClassifier, split: TrainingFaces) -> None:
    faces = torch.from_numpy(np.array(split.faces[:CALIBRATION_FACES]))
    boxes = None if split.boxes is None else torch.from_numpy(np.array(split.boxes[:CALIBRATION_FACES]))
    calibrate_norms(model, faces, boxes)


def _report_nothing(_run: str, _history_row: dict[str, Any], _timing_row: dict[str, Any]) -> None:
    """For a caller who does not ask for a report of each epoch."""
