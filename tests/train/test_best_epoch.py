"""The epoch that is kept, and the end of training, on val accuracies that are given."""

from collections.abc import Sequence
from typing import Any

import pytest

from fertool.train.best_epoch import best_epoch, is_best, is_out_of_patience
from fertool.train.config import TrainConfig


def history_of(accuracies: Sequence[float], config: TrainConfig) -> list[dict[str, Any]]:
    """The history that a training with these val accuracies has when it ends."""
    history: list[dict[str, Any]] = []
    for epoch, accuracy in enumerate(accuracies, 1):
        if is_out_of_patience(history, config):
            break
        best = int(is_best(epoch, accuracy, history, config))
        history.append({"epoch": epoch, "val_accuracy": accuracy, "best": best})
    return history


def test_before_the_first_epoch_none_is_best() -> None:
    assert best_epoch([]) is None
    assert not is_out_of_patience([], TrainConfig(patience=1))


def test_on_a_tie_the_earlier_epoch_is_kept() -> None:
    best = best_epoch(history_of([0.3, 0.5, 0.5, 0.4], TrainConfig()))
    assert best is not None and best["epoch"] == 2


@pytest.mark.parametrize(
    ("accuracies", "patience", "epochs", "best"),
    [
        ([0.3, 0.5, 0.4, 0.5, 0.2, 0.9], 2, 4, 2),
        ([0.3, 0.5, 0.4, 0.5, 0.2, 0.9], 3, 5, 2),
        ([0.3, 0.5, 0.4, 0.5, 0.2, 0.9], None, 6, 6),
        ([0.5, 0.4, 0.6, 0.5, 0.7, 0.8], 2, 6, 6),
        ([0.5, 0.5], 1, 2, 1),
    ],
)
def test_training_stops_when_patience_ends(
    accuracies: list[float], patience: int | None, epochs: int, best: int
) -> None:
    history = history_of(accuracies, TrainConfig(patience=patience))
    row = best_epoch(history)
    assert len(history) == epochs and row is not None and row["epoch"] == best


def test_patience_begins_when_the_whole_network_trains() -> None:
    config = TrainConfig(patience=2, freeze_epochs=3)
    history = history_of([0.5, 0.5, 0.5, 0.4, 0.4, 0.9], config)
    row = best_epoch(history)
    assert len(history) == 5 and row is not None and row["epoch"] == 1


def test_the_best_epoch_is_one_that_was_wholly_guided() -> None:
    """Patience, too, begins after the warm-up. Until then the best epoch so far is kept."""
    config = TrainConfig(guide="background", guide_warmup=1.5, patience=2)
    history = history_of([0.8, 0.9, 0.5, 0.6, 0.6, 0.4, 0.95], config)
    assert [row["best"] for row in history] == [1, 1, 1, 1, 0, 0]
    row = best_epoch(history)
    assert row is not None and row["epoch"] == 4
