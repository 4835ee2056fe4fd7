"""The training loop: read it from top to bottom, it happens in this order."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.hardware import Compute, seed_everything
from fertool.models import FaceClassifier, predict_logits, save_model
from fertool.progress import progress_bar
from fertool.train.augment import Draws, augment, draw_epoch, epoch_seed, mix, move_boxes
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import (
    freeze_all_but,
    frozen_backbone,
    head_inputs,
    trained_parameters,
    training_mode,
)
from fertool.train.moving_mean import MovingMean
from fertool.train.optimizers import make_optimizer, set_rates
from fertool.train.schedule import rate_factor
from fertool.workspace import Run, replacing, write_csv

HISTORY_COLUMNS = ["epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "best"]
TIMING_COLUMNS = ["epoch", "epoch_s", "images_per_s"]

EpochReport = Callable[[dict[str, Any], dict[str, Any]], None]  # (history row, timing row) -> None


@dataclass(frozen=True)
class LabelledFaces:
    """A split in memory: faces uint8 (N, H, W[, 3]), labels int64 (N,), boxes float32 (N, 4) where asked for."""

    faces: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None


def train_run(
    model: FaceClassifier,
    config: TrainConfig,
    train_split: LabelledFaces,
    val_split: LabelledFaces,
    run: Run,
    compute: Compute,
    on_epoch: EpochReport,
) -> dict[str, Any]:
    """Train `model` from where the run stands to its last epoch; return the history row of the best one.

    After each epoch the run's folder holds the best weights so far (by val accuracy, the earlier epoch on a
    tie), the history, and `last.pt`, from which a later call goes on to the same bits. Raises UserError when
    the loss stops being finite.
    """
    faces = torch.from_numpy(np.array(train_split.faces)).to(compute.device)
    labels = torch.from_numpy(train_split.labels).to(compute.device)
    boxes = None if train_split.boxes is None else torch.from_numpy(train_split.boxes).to(compute.device)
    augmentation = config.augmentation
    model.to(compute.device)
    if model.family == "cnn":
        model.to(memory_format=torch.channels_last)
    mean = MovingMean(model, config.ema) if config.ema else None

    state = _load_last(run, model, mean)
    history, timing = state["history"], state["timing"]
    best = next((row for row in reversed(history) if row["best"]), None)
    trained: set[str] = set()
    features: Tensor | None = None

    for epoch in range(len(history) + 1, config.epochs + 1):
        started_s = time.perf_counter()
        # the layers' own random numbers (dropout) start afresh each epoch, so a resumed run draws the same
        seed_everything(epoch_seed(config.seed, epoch))

        if trained != (trained := trained_parameters(model, config, epoch)):
            freeze_all_but(model, trained)
            optimizer = make_optimizer(model, config)
            if epoch > 1 and trained == trained_parameters(
                model, config, epoch - 1
            ):  # resumed within a phase
                optimizer.load_state_dict(state["optimizer"])
            features = None
            if augmentation.is_none and frozen_backbone(model, trained):
                with compute.autocast():
                    features = head_inputs(model, faces, boxes)

        order, draws = draw_epoch(len(faces), faces.shape[1], config.seed, epoch, augmentation)
        batches, draws = _batches(order.to(compute.device), config.batch_size), draws.to(compute.device)
        loss_sum = torch.zeros((), device=compute.device)
        hits = torch.zeros((), device=compute.device, dtype=torch.float32)

        training_mode(model)
        with progress_bar(f"epoch {epoch}/{config.epochs}", len(faces), "faces") as bar:
            for step, rows in enumerate(batches):
                steps_done = (epoch - 1) * len(batches) + step
                set_rates(optimizer, _rate_factor(config, steps_done, len(batches), history))
                draws_of_rows = draws[rows]
                if features is not None:
                    with compute.autocast():
                        logits = model.layer(model.head)(features[rows])
                else:
                    # before autocast: bfloat16's eight bits are too few to say where a pixel comes from
                    pixels = augment(faces[rows], draws_of_rows, augmentation)
                    if config.mixup:
                        partners = draws_of_rows.partners
                        partner_pixels = augment(faces[partners], draws[partners], augmentation)
                        pixels = mix(pixels, partner_pixels, draws_of_rows)
                    moved = None if boxes is None else move_boxes(boxes[rows], draws_of_rows, faces.shape[1])
                    with model.looking_at(moved), compute.autocast():
                        logits = model(pixels)
                logits = logits.float()
                loss, right = _loss_and_hits(logits, labels[rows], labels, draws_of_rows, config)
                _require_finite(loss, run, epoch, step + 1, optimizer)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if config.clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                if mean:
                    mean.update(model.network)
                loss_sum += loss.detach() * len(rows)
                hits += right
                bar.update(len(rows))
        trained_s = time.perf_counter() - started_s

        kept = mean.model if mean else model
        val_loss, val_accuracy = _validate(kept, val_split, compute)
        row = {
            "epoch": epoch,
            "lr": max(group["lr"] for group in optimizer.param_groups),
            "train_loss": loss_sum.item() / len(faces),
            "train_accuracy": hits.item() / len(faces),
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "best": int(best is None or val_accuracy > best["val_accuracy"]),
        }
        history.append(row)
        timing.append(
            {
                "epoch": epoch,
                "epoch_s": round(time.perf_counter() - started_s, 3),
                "images_per_s": round(len(faces) / trained_s, 1),
            }
        )
        if row["best"]:
            best = row
            save_model(kept, run.best)
        write_csv(run.history_csv, HISTORY_COLUMNS, [list(row.values()) for row in history])
        write_csv(run.timing_csv, TIMING_COLUMNS, [list(row.values()) for row in timing])
        # last of all: what `last.pt` counts as done is wholly on disk
        _save_last(run, model, optimizer, mean, history, timing)
        on_epoch(row, timing[-1])
    return best


def _batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """The rows of each step; one row left over joins the step before, for a batch norm needs two faces."""
    batches = list(order.split(batch_size))
    if len(batches[-1]) == 1 < batch_size and len(batches) > 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _rate_factor(config: TrainConfig, step: int, steps_an_epoch: int, history: list[dict[str, Any]]) -> float:
    return rate_factor(
        config.schedule,
        step,
        config.epochs * steps_an_epoch,
        round(config.warmup_epochs * steps_an_epoch),
        [row["val_loss"] for row in history],
    )


def _loss_and_hits(
    logits: Tensor, labels: Tensor, all_labels: Tensor, draws: Draws, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """The batch's mean loss, and how many of its faces are classified right.

    Of a mix of two faces both are asked for, each by its share: that is the cross-entropy with the mixed
    label, and a hit counts by the share of the face that it names.
    """
    predicted = logits.detach().argmax(dim=1)
    if not config.mixup:
        loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        return loss, (predicted == labels).sum()
    loss, right = 0.0, 0.0
    for of_label, share in ((labels, draws.own_shares), (all_labels[draws.partners], 1 - draws.own_shares)):
        losses = F.cross_entropy(logits, of_label, label_smoothing=config.label_smoothing, reduction="none")
        loss = loss + (share * losses).mean()
        right = right + (share * (predicted == of_label)).sum()
    return loss, right


def _require_finite(loss: Tensor, run: Run, epoch: int, step: int, optimizer: torch.optim.Optimizer) -> None:
    if not math.isfinite(loss.item()):
        raise UserError(
            f"{run.folder}: the loss is {loss.item()} at epoch {epoch}, step {step}, learning rate "
            f"{optimizer.param_groups[0]['lr']:g}; the best epoch so far is kept: try a smaller --lr"
        )


def _validate(model: FaceClassifier, split: LabelledFaces, compute: Compute) -> tuple[float, float]:
    logits = torch.from_numpy(predict_logits(model, split.faces, compute, split.boxes))
    labels = torch.from_numpy(split.labels)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).float().mean().item()


def _save_last(
    run: Run,
    model: FaceClassifier,
    optimizer: torch.optim.Optimizer,
    mean: MovingMean | None,
    history: list[dict[str, Any]],
    timing: list[dict[str, Any]],
) -> None:
    with replacing(run.last) as handle:
        torch.save(
            {
                "network": model.network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "mean": mean and {"network": mean.model.network.state_dict(), "step": mean.step},
                "history": history,
                "timing": timing,
            },
            handle,
        )


def _load_last(run: Run, model: FaceClassifier, mean: MovingMean | None) -> dict[str, Any]:
    """Bring the model to where `last.pt` left it; return what it holds beside weights."""
    if not run.last.exists():
        return {"history": [], "timing": []}
    state = torch.load(run.last, map_location=model.device, weights_only=True)
    model.network.load_state_dict(state["network"])
    if mean:
        mean.model.network.load_state_dict(state["mean"]["network"])
        mean.step = state["mean"]["step"]
    return state
