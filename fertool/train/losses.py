"""The classification loss of a batch, and the check that no loss was nan or infinite."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.train.augment import Draws
from fertool.train.config import TrainConfig

# a GPU is asked for the values of this many steps' losses together: each question waits for all of its work
READ_AT_ONCE = {"cpu": 1, "cuda": 50, "mps": 50}


def mean_loss(
    logits: Tensor,
    targets: Tensor,
    rows: Tensor,
    draws: Draws,
    class_weights: Tensor | None,
    config: TrainConfig,
) -> Tensor:
    """The mean cross-entropy of a batch, a scalar.

    With MixUp both faces of a mix are targets, each by its share: this is the cross-entropy with the mixed target.

    Args:
        logits: (B, C).
        targets: of all faces of train: labels int64 (N,) or distributions float32 (N, C).
        rows: the batch's rows of train, int64 (B,).
        draws: the batch's random choices.
        class_weights: (C,), or None where all classes weigh the same.
        config: its `mixup` and `label_smoothing` are used.
    """

    def losses(batch_targets: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, batch_targets, class_weights, label_smoothing=config.label_smoothing, reduction="none"
        )

    if not config.mixup:
        return losses(targets[rows]).mean()
    own, partners = losses(targets[rows]), losses(targets[draws.partners])
    return (draws.own_shares * own + (1 - draws.own_shares) * partners).mean()


def hits(logits: Tensor, labels: Tensor, rows: Tensor, draws: Draws, config: TrainConfig) -> Tensor:
    """The number of a batch's faces that are classified right.

    Args:
        logits: (B, C).
        labels: of all faces of train, int64 (N,).
        rows: the batch's rows of train, int64 (B,).
        draws: the batch's random choices.
        config: its `mixup` is used: a hit in a mix counts by the share of the face that it names.

    Returns:
        Scalar tensor, on the device of the logits.
    """
    predicted = logits.detach().argmax(dim=1)
    own = (predicted == labels[rows]).float()
    if not config.mixup:
        return own.sum()
    partners = (predicted == labels[draws.partners]).float()
    return (draws.own_shares * own + (1 - draws.own_shares) * partners).sum()


def balancing_weights(targets: Tensor, classes: int) -> Tensor:
    """Inverse class frequencies (classes,), scaled to a mean weight of 1 over the faces; 0 for an empty class.

    `targets` are labels (N,), or distributions (N, C), whose shares add up to a class's frequency.
    """
    counts = targets.sum(dim=0) if targets.ndim == 2 else torch.bincount(targets, minlength=classes)
    there = counts > 0
    return torch.where(there, len(targets) / (torch.where(there, counts, 1) * there.sum()), 0)


class LossCheck:
    """Finds the first loss of an epoch that is nan or infinite; a GPU's losses are read some at a time."""

    def __init__(self, folder: Path, epoch: int, device: torch.device, what: str = "the loss") -> None:
        """`folder`, `epoch` and `what` are named in the error."""
        self._folder = folder
        self._epoch = epoch
        self._what = what
        self._read_at_once = READ_AT_ONCE[device.type]
        self._unread: list[tuple[int, float, Tensor]] = []

    def add(self, step: int, rate: float, loss: Tensor) -> None:
        """Note the loss of a step, counted from 1, and its learning rate. Raises UserError as `read` does."""
        self._unread.append((step, rate, loss))
        if len(self._unread) == self._read_at_once:
            self.read()

    def read(self) -> None:
        """Read the losses noted since the last call. Raises UserError for the first that is not finite."""
        if not self._unread:
            return
        values = torch.stack([loss for *_, loss in self._unread]).tolist()
        for (step, rate, _), value in zip(self._unread, values, strict=True):
            if not math.isfinite(value):
                kept = "the best epoch so far is kept" if self._epoch > 1 else "nothing is kept"
                raise UserError(
                    f"{self._folder}: {self._what} is {value} at epoch {self._epoch}, step {step}, learning rate "
                    f"{rate:g}; {kept}: try a smaller --lr"
                )
        self._unread.clear()
