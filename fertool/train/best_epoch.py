"""The kept epoch, and the end of training for lack of patience: decided by the rows of history.csv alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fertool.train.config import TrainConfig

History = Sequence[Mapping[str, Any]]


def best_epoch(history: History) -> Mapping[str, Any] | None:
    """The row of the epoch whose weights are kept; None before the first."""
    return next((row for row in reversed(history) if row["best"]), None)


def is_best(epoch: int, val_accuracy: float, history: History, config: TrainConfig) -> bool:
    """Whether an epoch is better than those before it, `history`.

    The higher val accuracy wins, on a tie the earlier epoch. The first epoch after guidance's warm-up wins always: no
    epoch of the warm-up was guided as strongly as was asked.
    """
    best = best_epoch(history)
    if best is None:
        return True
    return val_accuracy > best["val_accuracy"] or best["epoch"] <= guide_warmup_epochs(config) < epoch


def is_out_of_patience(history: History, config: TrainConfig) -> bool:
    """Whether `patience` epochs in a row were not better than the best one.

    Epochs with a frozen backbone and those of guidance's warm-up do not count: neither trains as was asked.
    """
    best = best_epoch(history)
    if not config.patience or best is None:
        return False
    counted_from = max(best["epoch"], config.freeze_epochs, guide_warmup_epochs(config))
    return len(history) - counted_from >= config.patience


def guide_warmup_epochs(config: TrainConfig) -> int:
    """The epochs, begun ones included, in which lambda is not yet what was asked for."""
    return math.ceil(config.guide_warmup)
