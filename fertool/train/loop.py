"""The training loop: read it from top to bottom, it happens in this order."""

import contextlib
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models import FaceClassifier, predict_logits, save_model
from fertool.runtime.files import replacing, write_csv
from fertool.runtime.hardware import Compute, keep_freed_memory, seed_everything
from fertool.runtime.progress import log, progress_bar
from fertool.runtime.ranks import Ranks, join_ranks
from fertool.train.augment import Draws, augment, draw_epoch, epoch_seed, mix, move_boxes
from fertool.train.config import TrainConfig
from fertool.train.ema import MovingMean
from fertool.train.fine_tuning import (
    freeze_all_but,
    frozen_backbone,
    head_inputs,
    trained_parameters,
    training_mode,
)
from fertool.train.guidance import Guide, GuidePlanes, guide_figures
from fertool.train.mapped_faces import MappedFaces, face_reader
from fertool.train.optimizers import make_optimizer, set_rates
from fertool.train.schedule import rate_factor
from fertool.train.self_distillation import EarlierPredictions, earlier_share
from fertool.workspace import Run

# of so many steps losses are read together: before it tells one, a GPU does all that it was given
READ_AT_ONCE = {"cpu": 1, "cuda": 50, "mps": 50}

EpochReport = Callable[[dict[str, Any], dict[str, Any]], None]  # (history row, timing row) -> None


@dataclass(frozen=True)
class TrainingFaces:
    """A split: faces uint8 (N, H, W[, 3]), labels int64 (N,); where asked for boxes float32 (N, 4).

    `targets`, float32 (N, C), are distributions to be learnt in the labels' place; `planes` are where the maps
    of a guided training are to lie.
    """

    faces: MappedFaces
    labels: np.ndarray
    boxes: np.ndarray | None = None
    targets: np.ndarray | None = None
    planes: GuidePlanes | None = None


def train_run(
    model: FaceClassifier,
    config: TrainConfig,
    train_split: TrainingFaces,
    val_split: TrainingFaces,
    run: Run,
    compute: Compute,
    on_epoch: EpochReport,
) -> dict[str, Any]:
    """Train `model` from where the run stands to its last epoch; return the history row of the best one.

    Several processes (`join_ranks`) share each batch: its faces are dealt out, gradients are means over the whole
    batch, and what a face meets is the same however many there are. Batch norms take the statistics of their own
    process's part, and dropout its own numbers; otherwise the weights are those of one process, within rounding.

    After each epoch the run's folder holds the best weights so far (by val accuracy, the earlier epoch on a
    tie; none of guidance's warm-up once that is over), the history, and `last.pt`, from which a later call goes on
    to the same bits. Raises UserError when the loss stops being finite.
    """
    ranks = join_ranks()
    face_count, side = train_split.faces.shape[:2]
    faces_of = face_reader(train_split.faces, compute.device)
    labels = torch.from_numpy(train_split.labels).to(compute.device)
    targets = (
        labels if train_split.targets is None else torch.from_numpy(train_split.targets).to(compute.device)
    )
    class_weights = _class_weights(targets, model.recipe["classes"]) if config.balance else None
    boxes = None if train_split.boxes is None else torch.from_numpy(train_split.boxes).to(compute.device)
    augmentation = config.augmentation
    if compute.device.type == "cpu":
        keep_freed_memory()
    model.to(compute.device)
    guide = None if config.guide is None else _guide(model, config, train_split.planes, labels)
    mean = MovingMean(model, config.ema) if config.ema else None
    earlier = None
    if config.self_distillation:
        earlier = EarlierPredictions(face_count, model.recipe["classes"], compute.device)

    state = _load_last(run, model, mean, earlier)
    history, timing = state["history"], state["timing"]
    kept = mean.model if mean else model
    if history and ranks.is_first:  # it may have ended before these were written
        _publish(run, kept, history, timing)
    best = next((row for row in reversed(history) if row["best"]), None)
    trained: set[str] = set()
    features: Tensor | None = None
    warm_epochs = math.ceil(config.guide_warmup)  # afterwards lambda is what was asked for
    read_at_once = READ_AT_ONCE[compute.device.type]
    unread: list[tuple[int, float, Tensor]] = []  # steps, rates and losses, not yet seen to be finite

    if config.compile:
        # a graph for each shape, whatever was compiled before: a resumed run is to take the same ones
        torch._dynamo.reset()
        model.network.compile(dynamic=False)

    for epoch in range(len(history) + 1, config.epochs + 1):
        # a head alone soon finds its best, as does a training that is hardly guided yet: neither is what was asked for
        begun = max(config.freeze_epochs, warm_epochs)
        if config.patience and best and epoch - 1 - max(best["epoch"], begun) >= config.patience:
            log.info("%s: no better val accuracy in %d epochs", run.name, config.patience)
            break
        started_s = time.perf_counter()
        # the layers' own random numbers (dropout) start afresh each epoch, so a resumed run draws the same
        seed_everything(epoch_seed(config.seed, epoch) + ranks.rank)

        if trained != (trained := trained_parameters(model, config, epoch)):
            freeze_all_but(model, trained)
            network = _on_all_ranks(model, ranks)
            optimizer = make_optimizer(model, config)
            if epoch > 1 and trained == trained_parameters(
                model, config, epoch - 1
            ):  # resumed within a phase
                optimizer.load_state_dict(state["optimizer"])
            features = val_features = None
            alone = guide is None and ranks.count == 1
            if alone and augmentation.is_none and frozen_backbone(model, trained):
                features = head_inputs(model, train_split.faces, train_split.boxes, compute)
                val_features = head_inputs(model, val_split.faces, val_split.boxes, compute)

        order, draws = draw_epoch(face_count, side, config.seed, epoch, augmentation)
        order, draws = order.to(compute.device), draws.to(compute.device)
        draws_in_order = draws[order]
        batches = _batches(face_count, config.batch_size)
        loss_sum = torch.zeros((), device=compute.device)
        guide_sums = torch.zeros(4, device=compute.device)  # see guide_figures
        asked = targets
        if earlier:
            asked = earlier.targets(targets, earlier_share(config.self_distillation, epoch, config.epochs))
        hits = torch.zeros((), device=compute.device, dtype=torch.float32)

        training_mode(model)
        with progress_bar(f"epoch {epoch}/{config.epochs}", face_count, "faces") as bar:
            for step, batch in enumerate(batches):
                own, weight = _own_part(batch, ranks)
                rows, draws_of_rows = order[own], draws_in_order[own]
                steps_done = (epoch - 1) * len(batches) + step
                set_rates(optimizer, _rate_factor(config, steps_done, len(batches), history))
                if features is not None:
                    with compute.autocast():
                        logits = model.layer(model.head)(features[rows])
                else:
                    # before autocast: bfloat16's eight bits are too few to say where a pixel comes from
                    pixels = augment(faces_of(rows), draws_of_rows, augmentation)
                    if config.mixup:
                        partners = draws_of_rows.partners
                        partner_pixels = augment(faces_of(partners), draws[partners], augmentation)
                        pixels = mix(pixels, partner_pixels, draws_of_rows)
                    moved = None if boxes is None else move_boxes(boxes[rows], draws_of_rows, side)
                    watching = guide.watching(model) if guide else contextlib.nullcontext()
                    with model.looking_at(moved), compute.autocast(), watching as watch:
                        logits = network(pixels)
                logits = logits.float()
                loss = _mean_loss(logits, asked, rows, draws_of_rows, class_weights, config)
                right = _hits(logits, labels, rows, draws_of_rows, config)
                mean_loss = objective = ranks.sum(weight * loss.detach())
                if guide:
                    target = guide.target(rows, draws, order[batch])
                    guide_loss, sums = guide.loss(watch, logits, target, differentiable=guide.weight > 0)
                    loss = loss + guide.weight_at(steps_done / len(batches)) * guide_loss
                    objective = ranks.sum(weight * loss.detach())
                    guide_sums += sums if weight else 0
                unread.append((step + 1, _largest_rate(optimizer), objective))
                if len(unread) == read_at_once or step + 1 == len(batches):
                    _require_finite("the loss", unread, run, history)
                    unread = []
                optimizer.zero_grad(set_to_none=True)
                (loss * (weight * ranks.count)).backward()  # of which the processes' mean is taken
                if config.clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                if mean:
                    mean.update(model.network)
                if earlier and weight:
                    earlier.note(rows, logits)
                loss_sum += mean_loss * (batch.stop - batch.start)
                hits += right if weight else 0
                bar.update(batch.stop - batch.start)
        if earlier:
            earlier.end_epoch(ranks)
        trained_s = time.perf_counter() - started_s

        ranks.share(kept.network.buffers())  # the statistics that are saved
        val_loss, val_accuracy, val_guide_sums = _validate(
            kept, val_split, val_features, compute, ranks, guide
        )
        # the last step's weights met no loss of train's any more
        last = len(batches), _largest_rate(optimizer), torch.tensor(val_loss, dtype=torch.float64)
        _require_finite("the loss on val", [last], run, history)
        row = {
            "epoch": epoch,
            "lr": _largest_rate(optimizer),
            "train_loss": loss_sum.item() / face_count,
            "train_accuracy": ranks.sum(hits).item() / face_count,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "best": int(
                best is None or val_accuracy > best["val_accuracy"] or best["epoch"] <= warm_epochs < epoch
            ),
        }
        if guide:
            of_train, of_val = guide_figures(ranks.sum(guide_sums)), guide_figures(val_guide_sums)
            del of_val["guide_loss"]  # which is of train's augmented faces only
            row |= {f"train_{name}": figure for name, figure in of_train.items()}
            row |= {f"val_{name}": figure for name, figure in of_val.items()}
        history.append(row)
        timing.append(
            {
                "epoch": epoch,
                "epoch_s": round(time.perf_counter() - started_s, 3),
                "images_per_s": round(face_count / trained_s, 1),
            }
        )
        if row["best"]:
            best = row
        if ranks.is_first:
            # first of all: an epoch that is not in it was not, whatever it found
            _save_last(run, model, optimizer, mean, earlier, history, timing)
            _publish(run, kept, history, timing)
            on_epoch(row, timing[-1])
    return best


def _guide(model: FaceClassifier, config: TrainConfig, planes: GuidePlanes, labels: Tensor) -> Guide:
    return Guide(
        model,
        planes,
        labels,
        config.augmentation,
        form=config.guide,
        kind=config.guide_map,
        explainer=config.guide_explainer,
        weight=config.guide_weight,
        warmup_epochs=config.guide_warmup,
        wanted_shares=config.guide_regions and dict(config.guide_regions),
    )


def _on_all_ranks(model: FaceClassifier, ranks: Ranks) -> nn.Module:
    """The model itself, or, with several processes, as one whose gradients are the mean over all of them."""
    if ranks.count == 1:
        return model
    devices = [torch.cuda.current_device()] if model.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def _own_part(batch: slice, ranks: Ranks) -> tuple[slice, float]:
    """This process's part of a batch, and how much of the batch it is.

    Each that gets faces gets two or more, for a batch norm needs two. The others take the first ones with weight
    0: they have to take part in the exchange.
    """
    if ranks.count == 1:
        return batch, 1.0
    size = batch.stop - batch.start
    sharing = min(ranks.count, max(1, size // 2))
    if ranks.rank >= sharing:
        return slice(batch.start, batch.start + min(2, size)), 0.0
    return slice(batch.start + ranks.rank, batch.stop, sharing), len(range(ranks.rank, size, sharing)) / size


def _batches(face_count: int, batch_size: int) -> list[slice]:
    """Each step's part of the order; one face left over joins the step before, for a batch norm needs two."""
    starts = list(range(0, face_count, batch_size))
    if face_count - starts[-1] == 1 < batch_size and len(starts) > 1:
        del starts[-1]
    return [slice(start, stop) for start, stop in pairwise([*starts, face_count])]


def _rate_factor(config: TrainConfig, step: int, steps_an_epoch: int, history: list[dict[str, Any]]) -> float:
    thawed = config.freeze_epochs if len(history) >= config.freeze_epochs else 0
    return rate_factor(
        config.schedule,
        step,
        config.epochs * steps_an_epoch,
        round(config.warmup_epochs * steps_an_epoch),
        [row["val_loss"] for row in history[thawed:]],
    )


def _mean_loss(
    logits: Tensor,
    targets: Tensor,
    rows: Tensor,
    draws: Draws,
    class_weights: Tensor | None,
    config: TrainConfig,
) -> Tensor:
    """The mean cross-entropy of a batch's logits with its targets: labels (N,) or distributions (N, C) of all faces.

    Of a mix of two faces both are asked for, each by its share, which is the cross-entropy with the mixed
    target.
    """

    def losses(of: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, of, class_weights, label_smoothing=config.label_smoothing, reduction="none"
        )

    if not config.mixup:
        return losses(targets[rows]).mean()
    own, partners = losses(targets[rows]), losses(targets[draws.partners])
    return (draws.own_shares * own + (1 - draws.own_shares) * partners).mean()


def _hits(logits: Tensor, labels: Tensor, rows: Tensor, draws: Draws, config: TrainConfig) -> Tensor:
    """How many faces of a batch are classified right; of a mix a hit counts by the share of the face it names."""
    predicted = logits.detach().argmax(dim=1)
    own = (predicted == labels[rows]).float()
    if not config.mixup:
        return own.sum()
    partners = (predicted == labels[draws.partners]).float()
    return (draws.own_shares * own + (1 - draws.own_shares) * partners).sum()


def _class_weights(targets: Tensor, classes: int) -> Tensor:
    """Inverse frequencies, (classes,), such that the mean weight of a face is 1; 0 for a class without faces.

    Targets are labels (N,), or distributions (N, C), in which a class is as frequent as its shares add up to.
    """
    counts = targets.sum(dim=0) if targets.ndim == 2 else torch.bincount(targets, minlength=classes)
    there = counts > 0
    return torch.where(there, len(targets) / (torch.where(there, counts, 1) * there.sum()), 0)


def _largest_rate(optimizer: torch.optim.Optimizer) -> float:
    return max(group["lr"] for group in optimizer.param_groups)


def _require_finite(
    what: str, losses: list[tuple[int, float, Tensor]], run: Run, history: list[dict[str, Any]]
) -> None:
    """Raise UserError for the first loss that is no number; each comes with its step and its learning rate."""
    values = torch.stack([loss for *_, loss in losses]).tolist()
    for (step, rate, _), value in zip(losses, values, strict=True):
        if not math.isfinite(value):
            kept = "the best epoch so far is kept" if history else "nothing is kept"
            raise UserError(
                f"{run.folder}: {what} is {value} at epoch {len(history) + 1}, step {step}, learning rate "
                f"{rate:g}; {kept}: try a smaller --lr"
            )


def _validate(
    model: FaceClassifier,
    split: TrainingFaces,
    features: Tensor | None,
    compute: Compute,
    ranks: Ranks,
    guide: Guide | None,
) -> tuple[float, float, Tensor | None]:
    """Loss and accuracy on val, and a guide's sums; by the head alone where its inputs are there."""
    part = slice(ranks.rank, None, ranks.count)
    guide_sums = None
    if guide:
        logits, guide_sums = guide.measure(
            model, split.faces.part(part), split.labels[part], split.planes.part(part), compute
        )
        logits, guide_sums = torch.from_numpy(logits), ranks.sum(guide_sums)
    elif features is None:
        boxes = None if split.boxes is None else split.boxes[part]
        logits = torch.from_numpy(predict_logits(model, split.faces.part(part), compute, boxes))
    else:
        model.eval()
        with torch.inference_mode(), compute.autocast():
            logits = model.layer(model.head)(features).float().cpu()
    labels = torch.from_numpy(split.labels[part])
    losses = F.cross_entropy(logits.double(), labels, reduction="sum")
    loss, hits = ranks.sum(torch.stack([losses, (logits.argmax(dim=1) == labels).sum()])).tolist()
    return loss / len(split.labels), hits / len(split.labels), guide_sums


def _save_last(
    run: Run,
    model: FaceClassifier,
    optimizer: torch.optim.Optimizer,
    mean: MovingMean | None,
    earlier: EarlierPredictions | None,
    history: list[dict[str, Any]],
    timing: list[dict[str, Any]],
) -> None:
    with replacing(run.last) as handle:
        torch.save(
            {
                "network": model.network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "mean": mean and mean.state_dict(),
                "earlier": earlier and earlier.state_dict(),
                "history": history,
                "timing": timing,
            },
            handle,
        )


def _publish(
    run: Run, kept: FaceClassifier, history: list[dict[str, Any]], timing: list[dict[str, Any]]
) -> None:
    """Write what the last epoch came to: its weights where they are the best so far, and all epochs' figures."""
    if history[-1]["best"]:
        save_model(kept, run.best)
    write_csv(run.history_csv, list(history[-1]), [list(row.values()) for row in history])
    write_csv(run.timing_csv, list(timing[-1]), [list(row.values()) for row in timing])


def _load_last(
    run: Run, model: FaceClassifier, mean: MovingMean | None, earlier: EarlierPredictions | None
) -> dict[str, Any]:
    """Bring the model, its mean and its predictions to where `last.pt` left them; return what else it holds."""
    if not run.last.exists():
        return {"history": [], "timing": []}
    try:
        state = torch.load(run.last, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        # any other may be of a full memory; half of a file is what a machine leaves that lost its power
        if isinstance(error, RuntimeError) and "PytorchStreamReader" not in str(error):
            raise
        raise UserError(f"{run.last}: no whole checkpoint; --force begins the run again") from None
    model.network.load_state_dict(state["network"])
    for name, beside in (("mean", mean), ("earlier", earlier)):
        if beside:
            beside.load_state_dict(state[name])
    # the rest would stay in memory to the end of the training
    return {name: state[name] for name in ("optimizer", "history", "timing")}
