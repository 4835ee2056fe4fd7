"""A run's predictions on a split: made once, kept beside a record of what they were made from, read again.

Predictions without a record were made elsewhere: they are read as they are, and nothing here overwrites them.
"""

from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from fertool.errors import UserError
from fertool.models.backbones.user_network import source_files
from fertool.runtime.files import write_json, write_npz
from fertool.runtime.hardware import Compute
from fertool.workspace import Run, Workspace

REVISION = 1

Predict = Callable[[], np.ndarray]
"""Gives logits (N, C), when they are needed."""


def keep_logits(
    workspace: Workspace,
    run: Run,
    split: str,
    compute: Compute,
    predict: Predict,
    *,
    tta: str | None = None,
    force: bool = False,
) -> None:
    """Store what `predict` gives, unless what is stored is up to date (and no `force`) or made elsewhere.

    `tta` is the test-time augmentation that they were made with.
    """
    path = run.predictions(split, tta)
    record = path.with_suffix(".json")
    if made_elsewhere(path):
        return
    made_from = workspace.made_from(
        REVISION, {"precision": compute.precision, "tta": tta}, model_inputs(workspace, run, split)
    )
    if force or not workspace.is_current(record, made_from, [path]):
        logits = predict()
        # killed before the last line, what is here was not made elsewhere, and is made again
        write_json(record, {})
        write_npz(path, logits=logits, labels=workspace.load_labels(split, run.config()["classes"]))
        write_json(record, {"precision": compute.precision, "made_from": made_from})


def read_logits(workspace: Workspace, run: Run, split: str, tta: str | None = None) -> np.ndarray:
    """The logits of a run on a split, float32 (N, C), that are stored.

    Raises UserError where predictions that were made elsewhere do not fit the split.
    """
    path, classes = run.predictions(split, tta), run.config()["classes"]
    labels = workspace.load_labels(split, classes)
    try:
        with np.load(path) as stored:
            logits, of_whom = stored["logits"], stored.get("labels", labels)
    except (ValueError, TypeError, KeyError, EOFError, BadZipFile):
        raise UserError(f"{path}: no NumPy archive with 'logits'; remove it or put it right") from None
    if logits.shape != (len(labels), len(classes)):
        raise UserError(f"{path}: logits of shape {logits.shape} do not fit '{split}'; remove the file")
    if not np.array_equal(of_whom, labels):
        raise UserError(f"{path}: labels of other faces than those of '{split}'; remove it or put it right")
    if np.isnan(logits).any():
        raise UserError(f"{path}: row {np.isnan(logits).any(axis=1).argmax()} has logits that are no number")
    return logits


def made_elsewhere(path: Path) -> bool:
    """Whether these predictions are there, and nothing says that they were made here."""
    return path.exists() and not path.with_suffix(".json").exists()


def model_inputs(workspace: Workspace, run: Run, split: str) -> list[Path]:
    """The files on which depends what a run says of a split: weights, faces, where they lie if it asks, its source."""
    inputs = [run.best, workspace.faces(split), workspace.faces_csv(split)]
    inputs += source_files(run.config()["model"])
    if run.config().get("needs_boxes"):
        inputs.append(workspace.landmarks(split))
    return inputs
