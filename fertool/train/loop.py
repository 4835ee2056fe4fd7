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
from fertool.train.augment import augment, draw_epoch, epoch_seed
from fertool.train.config import TrainConfig
from fertool.workspace import Run, replacing, write_csv

HISTORY_COLUMNS = ["epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "best"]
TIMING_COLUMNS = ["epoch", "epoch_s", "images_per_s"]

EpochReport = Callable[[dict[str, Any], dict[str, Any]], None]  # (history row, timing row) -> None


@dataclass(frozen=True)
class LabelledFaces:
    """A split in memory: faces uint8 (N, H, W[, 3]) and their labels int64 (N,)."""

    faces: np.ndarray
    labels: np.ndarray


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
    model.to(compute.device)
    if model.family == "cnn":
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )

    history, timing = _resume(run, model, optimizer)
    best = next((row for row in reversed(history) if row["best"]), None)

    for epoch in range(len(history) + 1, config.epochs + 1):
        started_s = time.perf_counter()
        # the layers' own random numbers (dropout) start afresh each epoch, so a resumed run draws the same
        seed_everything(epoch_seed(config.seed, epoch))
        draws = draw_epoch(
            len(faces), faces.shape[1], config.seed, epoch, flip=config.flip, shift=config.shift
        )
        order, flips, shifts = (x.to(compute.device) for x in (draws.order, draws.flips, draws.shifts))
        loss_sum = torch.zeros((), device=compute.device)
        hits = torch.zeros((), device=compute.device, dtype=torch.int64)

        model.train()
        with progress_bar(f"epoch {epoch}/{config.epochs}", len(faces), "faces") as bar:
            for step, rows in enumerate(order.split(config.batch_size), start=1):
                pixels = augment(faces[rows], flips[rows], shifts[rows])
                with compute.autocast():
                    logits = model(pixels)
                loss = F.cross_entropy(logits.float(), labels[rows], label_smoothing=config.label_smoothing)
                _require_finite(loss, run, epoch, step, optimizer)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(rows)
                hits += (logits.argmax(dim=1) == labels[rows]).sum()
                bar.update(len(rows))
        trained_s = time.perf_counter() - started_s

        val_loss, val_accuracy = _validate(model, val_split, compute)
        row = {
            "epoch": epoch,
            "lr": optimizer.param_groups[0]["lr"],
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
            save_model(model, run.best)
        write_csv(run.history_csv, HISTORY_COLUMNS, [list(row.values()) for row in history])
        write_csv(run.timing_csv, TIMING_COLUMNS, [list(row.values()) for row in timing])
        # last of all: what `last.pt` counts as done is wholly on disk
        _save_last(run, model, optimizer, history, timing)
        on_epoch(row, timing[-1])
    return best


def _require_finite(loss: Tensor, run: Run, epoch: int, step: int, optimizer: torch.optim.Optimizer) -> None:
    if not math.isfinite(loss.item()):
        raise UserError(
            f"{run.folder}: the loss is {loss.item()} at epoch {epoch}, step {step}, learning rate "
            f"{optimizer.param_groups[0]['lr']:g}; the best epoch so far is kept: try a smaller --lr"
        )


def _validate(model: FaceClassifier, split: LabelledFaces, compute: Compute) -> tuple[float, float]:
    logits = torch.from_numpy(predict_logits(model, split.faces, compute))
    labels = torch.from_numpy(split.labels)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).float().mean().item()


def _save_last(
    run: Run,
    model: FaceClassifier,
    optimizer: torch.optim.Optimizer,
    history: list[dict[str, Any]],
    timing: list[dict[str, Any]],
) -> None:
    with replacing(run.last) as handle:
        torch.save(
            {
                "network": model.network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "history": history,
                "timing": timing,
            },
            handle,
        )


def _resume(
    run: Run, model: FaceClassifier, optimizer: torch.optim.Optimizer
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Bring model and optimizer to where `last.pt` left them; return history and timing up to there."""
    if not run.last.exists():
        return [], []
    state = torch.load(run.last, map_location=model.device, weights_only=True)
    model.network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["history"], state["timing"]
