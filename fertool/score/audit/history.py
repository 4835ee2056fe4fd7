"""The gap between the epoch that was chosen on val and the best one on test."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fertool.runtime.reading import csv_column, damaged, read_csv

VAL = (
    "val_accuracy",
    "val_acc",
    "valid_accuracy",
    "valid_acc",
    "validation_accuracy",
    "public_accuracy",
    "public_acc",
)
TEST = ("test_accuracy", "test_acc", "private_accuracy", "private_acc")
REMEDY = "give a csv with a row for each epoch and the columns 'val_accuracy' and 'test_accuracy'"


@dataclass(frozen=True)
class Chosen:
    """The epoch chosen on val, and the best one on test; accuracies 0 to 1."""

    epoch: int
    accuracy: float
    best_epoch: int
    best_accuracy: float

    @property
    def gap(self) -> float:
        """The points that choosing on test adds, as a share."""
        return self.best_accuracy - self.accuracy


def read_history(file: Path) -> Chosen:
    """The epochs in a history, a csv. Raises UserError where it lacks a column, or holds what is no accuracy."""
    rows = read_csv(file, REMEDY)
    if not rows:
        raise damaged(file, "no epochs", REMEDY)
    val, test = (_accuracies(file, rows, names) for names in (VAL, TEST))
    epochs = list(range(1, len(rows) + 1))
    if "epoch" in rows[0]:
        epochs = csv_column(file, rows, "epoch", lambda text: int(float(text)), REMEDY)
    chosen, best = int(val.argmax()), int(test.argmax())
    return Chosen(epochs[chosen], float(test[chosen]), epochs[best], float(test[best]))


def _accuracies(file: Path, rows: list[dict[str, str]], names: tuple[str, ...]) -> np.ndarray:
    name = next((name for name in names if name in rows[0]), None)
    if name is None:
        raise damaged(file, f"has no column '{names[0]}'", REMEDY)
    values = np.array(csv_column(file, rows, name, lambda text: float(text.strip().rstrip("%")), REMEDY))
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 100:
        raise damaged(file, f"'{name}' holds values outside 0 to 100", REMEDY)
    return values / 100 if values.max() > 1 else values
