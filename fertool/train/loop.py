"""The training loop: read it from top to bottom, it happens in this order."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute, keep_freed_memory, seed_everything
from fertool.runtime.progress import log, progress_bar
from fertool.runtime.ranks import Ranks, join_ranks
from fertool.train.augment import Draws, augment, draw_epoch, epoch_seed, mix, move_boxes
from fertool.train.batches import own_part
from fertool.train.best_epoch import best_epoch, is_best, is_out_of_patience
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import (
    freeze_all_but,
    frozen_backbone,
    head_inputs,
    trained_parameters,
    training_mode,
)
from fertool.train.guidance import guide_figures
from fertool.train.guidance.batch_norms import batch_norms
from fertool.train.guidance.maps import Watch
from fertool.train.losses import LossCheck, hits, mean_loss
from fertool.train.optimizers import largest_rate, make_optimizer, set_rates, step_factor
from fertool.train.self_distillation import earlier_share
from fertool.train.setup import TrainingSetup, set_up
from fertool.train.splits import TrainingFaces
from fertool.train.state import TrainingState
from fertool.train.validation import Validation, validate
from fertool.workspace import Run

EpochReport = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""The run's name, an epoch's row of history.csv, its row of timing.csv -> None."""


def train_run(
    model: FaceClassifier,
    config: TrainConfig,
    train_split: TrainingFaces,
    val_split: TrainingFaces,
    run: Run,
    compute: Compute,
    on_epoch: EpochReport,
) -> Mapping[str, Any]:
    """Train `model` from where the run stands to its last epoch.

    Several processes (`join_ranks`) share each batch: its faces are dealt out, gradients are means over the whole
    batch, and a face is augmented alike however many processes there are. Batch norms take the statistics of their
    own process's part, and dropout draws its own numbers; otherwise the weights are those of one process, within
    rounding.

    After each epoch the run's folder holds the best weights so far (`fertool.train.best_epoch`), the history, and
    `last.pt`, from which a later call goes on to the same bits.

    Args:
        model: the network with its starting weights; it is trained in place.
        config: the settings.
        train_split: the faces to learn from.
        val_split: the faces on which epochs are compared.
        run: where the training stands, and is kept.
        compute: device and number format.
        on_epoch: called after each epoch with the run's name and the epoch's rows of history.csv and timing.csv.

    Returns:
        The history row of the best epoch.

    Raises:
        UserError: a loss is not finite, or `last.pt` is no whole checkpoint.
    """
    ranks = join_ranks()
    if compute.device.type == "cpu":
        keep_freed_memory()
    model.to(compute.device)
    setup = set_up(model, config, train_split, val_split, compute, ranks)
    state = TrainingState(model, config, setup.faces.count)
    state.load(run)
    if state.history and ranks.is_first:
        state.publish(run)  # an earlier call may have been killed before it did
    if config.compile:
        # a graph for each shape, whatever was compiled before, so that a resumed run takes the same graphs
        torch._dynamo.reset()
        model.network.compile(dynamic=False)

    phase: Phase | None = None
    for epoch in range(len(state.history) + 1, config.epochs + 1):
        if is_out_of_patience(state.history, config):
            log.info("%s: no better val accuracy in %d epochs", run.name, config.patience)
            break
        started_s = time.perf_counter()
        # the layers' own random numbers (dropout) start afresh each epoch, so that a resumed run draws the same
        seed_everything(epoch_seed(config.seed, epoch) + ranks.rank)
        trained = trained_parameters(model, config, epoch)
        if phase is None or phase.trained != trained:
            phase = begin_phase(trained, epoch, state, setup)

        sums = train_epoch(epoch, phase, state, setup, run.folder)
        trained_s = time.perf_counter() - started_s

        ranks.share(state.eval_model.network.buffers())  # the batch statistics that are saved
        validation = validate(state.eval_model, phase.val_features, setup)
        # no loss of train has met the weights that the last step made
        check = LossCheck(run.folder, epoch, torch.device("cpu"), "the loss on val")
        check.add(len(setup.batches), largest_rate(state.optimizer), torch.tensor(validation.loss).double())
        row = history_row(epoch, sums, validation, state, setup)
        state.history.append(row)
        state.timing.append(
            {
                "epoch": epoch,
                "epoch_s": round(time.perf_counter() - started_s, 3),
                "images_per_s": round(setup.faces.count / trained_s, 1),
            }
        )
        if ranks.is_first:
            state.save(run)  # first of all: an epoch that is not in last.pt is trained again
            state.publish(run)
            on_epoch(run.name, row, state.timing[-1])
    best = best_epoch(state.history)
    assert best is not None  # the first epoch was the best when it ended
    return best


@dataclass(frozen=True)
class Phase:
    """Epochs in which the same parameters train.

    Where the backbone is frozen and faces stay as they are, `features` and `val_features` (N, ...) are what the head
    is given for each face of train and val.
    """

    trained: set[str]
    features: Tensor | None = None
    val_features: Tensor | None = None


def begin_phase(trained: set[str], epoch: int, state: TrainingState, setup: TrainingSetup) -> Phase:
    """Let these parameters train from this epoch on, with an optimizer of their own."""
    model, config, ranks = state.model, setup.config, setup.ranks
    freeze_all_but(model, trained)
    state.network = _on_all_ranks(model, ranks)
    is_resumed = epoch > 1 and trained == trained_parameters(model, config, epoch - 1)
    state.take_optimizer(make_optimizer(model, config), goes_on=is_resumed)
    is_alone = setup.guide is None and ranks.count == 1
    if not (is_alone and config.augmentation.is_none and frozen_backbone(model, trained)):
        return Phase(trained)
    features, val_features = (
        head_inputs(model, split.faces, split.boxes, setup.compute)
        for split in (setup.train_split, setup.val_split)
    )
    return Phase(trained, features, val_features)


def _on_all_ranks(model: FaceClassifier, ranks: Ranks) -> nn.Module:
    """The model, or with several processes its wrapper, whose gradients are the mean over all of them."""
    if ranks.count == 1:
        return model
    devices = [torch.cuda.current_device()] if model.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


@dataclass
class EpochSums:
    """Sums over an epoch's faces, on the device: of losses, of hits in this process, and those of `guide_figures`."""

    loss: Tensor
    hits: Tensor
    guide: Tensor


def train_epoch(
    epoch: int, phase: Phase, state: TrainingState, setup: TrainingSetup, folder: Path
) -> EpochSums:
    """Train for one epoch.

    Args:
        epoch: its number, from 1.
        phase: the parameters that train.
        state: the model, its optimizer and its averages, which change, and the history.
        setup: the settings and the faces.
        folder: the run's folder, which errors name.

    Returns:
        Sums over the epoch's faces.

    Raises:
        UserError: a loss is not finite.
    """
    config, faces, ranks, guide = setup.config, setup.faces, setup.ranks, setup.guide
    order, draws = draw_epoch(faces.count, faces.side, config.seed, epoch, config.augmentation)
    order, draws = order.to(setup.device), draws.to(setup.device)
    draws_in_order = draws[order]
    targets = faces.targets
    if state.earlier:
        share = earlier_share(config.self_distillation, epoch, config.epochs)
        targets = state.earlier.targets(targets, share)
    check = LossCheck(folder, epoch, setup.device)
    sums = EpochSums(*(torch.zeros(size, device=setup.device) for size in ((), (), (4,))))

    training_mode(state.model)
    with progress_bar(f"epoch {epoch}/{config.epochs}", faces.count, "faces") as bar:
        for step, batch in enumerate(setup.batches):
            size = batch.stop - batch.start
            own, weight = own_part(batch, ranks)
            rows, row_draws = order[own], draws_in_order[own]
            steps_done = (epoch - 1) * len(setup.batches) + step
            set_rates(state.optimizer, step_factor(config, steps_done, len(setup.batches), state.history))

            logits, watch = _forward(rows, row_draws, draws, phase, state, setup)
            loss = mean_loss(logits, targets, rows, row_draws, setup.class_weights, config)
            batch_loss = objective = ranks.sum(weight * loss.detach())
            if guide and watch:
                target = guide.target(rows, draws, order[batch])
                guide_loss, guide_sums = guide.loss(watch, logits, target, differentiable=guide.weight > 0)
                loss = loss + guide.weight_at(steps_done / len(setup.batches)) * guide_loss
                objective = ranks.sum(weight * loss.detach())
                sums.guide += guide_sums if weight else 0
            check.add(step + 1, largest_rate(state.optimizer), objective)

            state.optimizer.zero_grad(set_to_none=True)
            (loss * (weight * ranks.count)).backward()  # the mean over the processes is taken of it
            if config.clip:
                nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
            state.optimizer.step()
            if state.ema:
                state.ema.update(state.model.network)

            if state.earlier and weight:
                state.earlier.note(rows, logits)
            sums.loss += batch_loss * size
            sums.hits += hits(logits, faces.labels, rows, row_draws, config) if weight else 0
            bar.update(size)
    check.read()
    if state.earlier:
        state.earlier.end_epoch(ranks)
    return sums


def _forward(
    rows: Tensor, row_draws: Draws, draws: Draws, phase: Phase, state: TrainingState, setup: TrainingSetup
) -> tuple[Tensor, Watch | None]:
    """Logits float32 (B, C) of the faces `rows`, augmented, and what a guide makes its map of."""
    model, faces, augmentation = state.model, setup.faces, setup.config.augmentation
    if phase.features is not None:
        with setup.compute.autocast():
            return model.layer(model.head)(phase.features[rows]).float(), None
    # augmented before autocast: bfloat16's eight bits are too few to say where a pixel comes from
    pixels = augment(faces.read(rows), row_draws, augmentation)
    if augmentation.mixup:
        partners = row_draws.partners
        partner_pixels = augment(faces.read(partners), draws[partners], augmentation)
        pixels = mix(pixels, partner_pixels, row_draws)
    boxes = None if faces.boxes is None else move_boxes(faces.boxes[rows], row_draws, faces.side)
    watching = setup.guide.watching(model) if setup.guide else nullcontext()
    is_alone = len(rows) == 1 and any(not norm.training for norm in batch_norms(model))
    if is_alone:
        # torch computes some gradients of frozen batch norms wrongly for a batch of one: repeated here, dropped below
        pixels = pixels.repeat_interleave(2, dim=0)
    with model.looking_at(boxes), setup.compute.autocast(), watching as watch:
        logits = state.network(pixels)
    return logits[: len(rows)].float(), watch


def history_row(
    epoch: int, sums: EpochSums, validation: Validation, state: TrainingState, setup: TrainingSetup
) -> dict[str, Any]:
    """An epoch's row of history.csv.

    Args:
        epoch: its number, from 1.
        sums: its sums over the faces of train.
        validation: its figures on val.
        state: holds the optimizer, and the rows of the epochs before.
        setup: the settings and the faces.

    Returns:
        The row by column; losses are means a face, accuracies lie in 0..1.
    """
    ranks, face_count = setup.ranks, setup.faces.count
    row: dict[str, Any] = {
        "epoch": epoch,
        "lr": largest_rate(state.optimizer),
        "train_loss": sums.loss.item() / face_count,
        "train_accuracy": ranks.sum(sums.hits).item() / face_count,
        "val_loss": validation.loss,
        "val_accuracy": validation.accuracy,
        "best": int(is_best(epoch, validation.accuracy, state.history, setup.config)),
    }
    if validation.guide_sums is not None:
        train_figures, val_figures = (
            guide_figures(ranks.sum(sums.guide)),
            guide_figures(validation.guide_sums),
        )
        del val_figures["guide_loss"]  # a loss is of train's augmented faces only
        row |= {f"train_{name}": figure for name, figure in train_figures.items()}
        row |= {f"val_{name}": figure for name, figure in val_figures.items()}
    return row
