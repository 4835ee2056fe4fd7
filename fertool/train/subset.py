"""The faces of the train split that a training uses."""

import numpy as np

from fertool.errors import UserError
from fertool.runtime.progress import log
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace


def rows_used(workspace: Workspace, labels: np.ndarray, config: TrainConfig) -> np.ndarray:
    """The rows of train that the settings use, ascending.

    `drop_leaks` leaves out faces with a twin in val or test, `train_fraction` takes a part of each class. `labels` (N,)
    are those of train. Raises UserError where no face is left.
    """
    kept = np.ones(len(labels), dtype=bool)
    if config.drop_leaks:
        elsewhere = np.concatenate([workspace.load_twin_groups(split) for split in ("val", "test")])
        kept = ~np.isin(workspace.load_twin_groups("train"), elsewhere[elsewhere >= 0])
        log.info("%d of %d faces have a twin in val or test and are left out", (~kept).sum(), len(kept))
    rows = np.flatnonzero(kept)
    if not len(rows):
        raise UserError(
            f"{workspace.faces_csv('train')}: --drop-leaks leaves no face, for all have a twin in val or test; "
            "leave it out, or prepare other splits"
        )
    if config.train_fraction < 1:
        rows = stratified_part(labels, rows, config.train_fraction, config.seed)
        log.info("%d of %d faces of train are used", len(rows), len(labels))
    return rows


def stratified_part(labels: np.ndarray, rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """The given part of each class among `rows`, at least one face each, drawn by seed; ascending."""
    shuffled = np.random.default_rng([seed, len(labels)]).permutation(rows)
    parts = []
    for code in np.unique(labels[rows]):
        in_class = shuffled[labels[shuffled] == code]
        parts.append(in_class[: max(1, round(fraction * len(in_class)))])
    return np.sort(np.concatenate(parts))
