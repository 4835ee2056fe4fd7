"""The faces of the train split that a training uses."""

import numpy as np

from fertool.errors import UserError
from fertool.prepare.twins import NEAR
from fertool.runtime.progress import log
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace


def rows_used(workspace: Workspace, labels: np.ndarray, config: TrainConfig) -> np.ndarray:
    """The rows of train that the settings use, ascending.

    `drop_leaks` leaves out faces with a twin in val or test, `train_fraction` takes a part of each class. `labels` (N,)
    are those of train. Raises UserError where no face is left, and where near twins are to be left out and were not
    looked for.
    """
    kept = np.ones(len(labels), dtype=bool)
    if config.drop_leaks:
        load = _near_twin_groups if config.drop_leaks == NEAR else Workspace.load_twin_groups
        elsewhere = np.concatenate([load(workspace, split) for split in ("val", "test")])
        kept = ~np.isin(load(workspace, "train"), elsewhere[elsewhere >= 0])
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


def _near_twin_groups(workspace: Workspace, split: str) -> np.ndarray:
    groups = workspace.load_near_twin_groups(split)
    if groups is None:
        raise UserError(
            f"--drop-leaks near: {workspace.root} knows no near twins, which prepare looks for in pictures; give "
            "--drop-leaks, or run 'fertool prepare SOURCE' again"
        )
    return groups


def stratified_part(labels: np.ndarray, rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """The given part of each class among `rows`, at least one face each, drawn by seed; ascending."""
    shuffled = np.random.default_rng([seed, len(labels)]).permutation(rows)
    parts = []
    for code in np.unique(labels[rows]):
        in_class = shuffled[labels[shuffled] == code]
        parts.append(in_class[: max(1, round(fraction * len(in_class)))])
    return np.sort(np.concatenate(parts))
