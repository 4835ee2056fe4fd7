"""A run's predictions on a split: made once, kept beside a record of their inputs, read again.

Predictions without a record were made elsewhere: they are read as they are, and nothing here overwrites them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.models.backbones.user_network import source_files
from fertool.runtime.files import write_npz, write_record
from fertool.runtime.hardware import Compute
from fertool.runtime.reading import read_npz
from fertool.workspace import Run, Workspace

REVISION = 1

REMEDY = "remove the file, or put it right"

Predict = Callable[[], np.ndarray]
"""A function that computes logits (N, C), called where they are needed."""


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
    """Store the logits of a run on a split, unless those stored are up to date or made elsewhere.

    Args:
        workspace: holds the faces.
        run: whose predictions they are.
        split: train, val or test.
        compute: device and precision of the computation.
        predict: computes the logits, called only where they are not up to date.
        tta: the test-time augmentation that they are made with; None: one view.
        force: compute them again even where they are up to date.
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
        # an empty record first: after a kill before the last line the file does not count as made elsewhere
        write_record(record, {})
        write_npz(path, logits=logits, labels=workspace.load_labels(split, run.config()["classes"]))
        write_record(
            record,
            {
                "precision": compute.precision,
                "made_from": made_from,
                "products": workspace.products(record, [path]),
            },
        )


def read_logits(workspace: Workspace, run: Run, split: str, tta: str | None = None) -> np.ndarray:
    """The stored logits of a run on a split, float32 or float64 (N, C).

    Raises UserError where the file is damaged, and where predictions that were made elsewhere do not fit the split.
    """
    path, classes = run.predictions(split, tta), run.config()["classes"]
    labels = workspace.load_labels(split, classes)
    workspace.require_intact(path.with_suffix(".json"), path)
    stored = read_npz(path, REMEDY)
    if "logits" not in stored:
        raise UserError(f"{path}: no 'logits' in this archive; {REMEDY}")
    logits = stored["logits"]
    if logits.dtype.kind not in "fiu":
        raise UserError(f"{path}: logits of type {logits.dtype} are no real numbers; store them as float32")
    if logits.shape != (len(labels), len(classes)):
        raise UserError(f"{path}: logits of shape {logits.shape} do not fit '{split}'; remove the file")
    if not np.array_equal(stored.get("labels", labels), labels):
        raise UserError(f"{path}: labels of other faces than those of '{split}'; {REMEDY}")
    if not np.isfinite(logits).all():
        row = int((~np.isfinite(logits)).any(axis=1).argmax())
        raise UserError(f"{path}: row {row} has logits that are nan or infinite; {REMEDY}")
    return logits


def made_elsewhere(path: Path) -> bool:
    """Whether these predictions are there without a record, which says that they were made here."""
    return path.exists() and not path.with_suffix(".json").exists()


def model_inputs(workspace: Workspace, run: Run, split: str) -> list[Path]:
    """The files on which a run's predictions on a split depend.

    These are its weights, the faces, their landmarks where the model needs their boxes, and the source of a user's
    own network.
    """
    inputs = [run.best, workspace.faces(split), workspace.faces_csv(split)]
    inputs += source_files(run.config()["model"])
    if run.config().get("needs_boxes"):
        inputs.append(workspace.landmarks(split))
    return inputs
