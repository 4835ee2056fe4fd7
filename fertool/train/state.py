"""The state of a training that changes from step to step, and how it is saved and loaded."""

import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fertool.errors import DamagedError
from fertool.models import FaceClassifier, save_model
from fertool.runtime.files import file_sha256, replacing, write_csv
from fertool.runtime.reading import csv_column, damaged, read_csv
from fertool.train.config import TrainConfig
from fertool.train.ema import ExponentialMovingAverage
from fertool.train.self_distillation import EarlierPredictions
from fertool.workspace import Run

TIMING = {"epoch": int, "epoch_s": float, "images_per_s": float}  # columns of timing.csv
BEGIN_AGAIN = "--force begins the run again"


class TrainingState:
    """The weights, and everything beside them that a training needs to go on to the same bits.

    Attributes:
        model: the network that is trained.
        network: the same, or its wrapper that shares gradients between processes.
        optimizer: of the parameters that train at present; there is none before the first epoch.
        ema: the moving average of the weights, where one is asked for.
        earlier: earlier predictions of the faces, where self-distillation is asked for.
        history: a row of history.csv for each finished epoch.
        timing: a row of timing.csv for each finished epoch. It is kept apart, so that `last.pt` is the same bits when
            the training is run again.
    """

    def __init__(self, model: FaceClassifier, config: TrainConfig, face_count: int) -> None:
        self.model = model
        self.network: nn.Module = model
        self.optimizer: torch.optim.Optimizer
        self.ema = ExponentialMovingAverage(model, config.ema) if config.ema else None
        self.earlier: EarlierPredictions | None = None
        if config.self_distillation:
            self.earlier = EarlierPredictions(face_count, model.recipe["classes"], model.device)
        self.history: list[dict[str, Any]] = []
        self.timing: list[dict[str, Any]] = []
        self._saved_optimizer: dict[str, Any] | None = None
        self._best_sha256: str | None = None  # the hash of best.safetensors

    @property
    def eval_model(self) -> FaceClassifier:
        """The model that is validated and kept: the moving average where there is one."""
        return self.ema.model if self.ema else self.model

    def take_optimizer(self, optimizer: torch.optim.Optimizer, goes_on: bool) -> None:
        """Train with a new optimizer, which takes over what `load` found of the saved one where it `goes_on`."""
        self.optimizer = optimizer
        if goes_on and self._saved_optimizer is not None:
            optimizer.load_state_dict(self._saved_optimizer)
        self._saved_optimizer = None  # it would stay in memory to the end of the training

    def save(self, run: Run) -> None:
        """Write `last.pt`: from here on the epoch is done."""
        # the timing goes first: where a kill comes in between, `load` drops the row of the epoch that is not done
        write_csv(run.timing_csv, list(TIMING), [list(row.values()) for row in self.timing])
        content = {
            "network": self.model.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self.ema and self.ema.state_dict(),
            "earlier": self.earlier and self.earlier.state_dict(),
            "history": self.history,
            "best_sha256": self._best_sha256,
        }
        with replacing(run.last) as handle:
            torch.save(_canonical(content), handle)

    def publish(self, run: Run) -> None:
        """Write what the last epoch came to: its weights where they are the best so far, and all epochs' figures."""
        if self.history[-1]["best"]:
            save_model(self.eval_model, run.best)
            self._best_sha256 = file_sha256(run.best)
        write_csv(run.history_csv, list(self.history[-1]), [list(row.values()) for row in self.history])

    def load(self, run: Run) -> None:
        """Go on from `last.pt`, where there is one.

        Raises DamagedError where it is not what `save` wrote, and where the best weights so far are not those that
        `publish` wrote.
        """
        if not run.last.exists():
            return
        saved = _read_checkpoint(run.last)
        try:
            self.model.network.load_state_dict(saved["network"])
            if self.ema:
                self.ema.load_state_dict(saved["mean"])
            if self.earlier:
                self.earlier.load_state_dict(saved["earlier"])
            self.history, self._saved_optimizer = saved["history"], saved["optimizer"]
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "loading state_dict" not in str(error):
                raise  # it may come from a full memory
            raise damaged(run.last, "no checkpoint of this run", BEGIN_AGAIN) from None
        self._best_sha256 = saved.get("best_sha256")  # checkpoints of earlier versions have none
        if not self.history[-1]["best"]:  # else `publish` writes them once more
            self._require_best(run.best)
        # earlier versions kept the timing in the checkpoint
        timing = saved["timing"] if "timing" in saved else _read_timing(run.timing_csv)
        self.timing = [row for row in timing if row["epoch"] <= len(self.history)]

    def _require_best(self, path: Path) -> None:
        if not path.exists():
            raise damaged(path, "no such file", BEGIN_AGAIN)
        if self._best_sha256 is not None and file_sha256(path) != self._best_sha256:
            raise damaged(path, "not the weights of the best epoch so far", BEGIN_AGAIN)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        # torch checks no checksum; and a machine that lost its power may leave half a file
        with zipfile.ZipFile(path) as archive:
            is_whole = archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError):
        is_whole = False
    if not is_whole:
        raise damaged(path, "no whole checkpoint", BEGIN_AGAIN)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        if isinstance(error, RuntimeError) and "PytorchStreamReader" not in str(error):
            raise  # it may come from a full memory
        raise damaged(path, "no checkpoint of this program", BEGIN_AGAIN) from None
    if not isinstance(content, dict) or not content.get("history"):
        raise damaged(path, "no checkpoint of this program", BEGIN_AGAIN)
    return content


def _read_timing(path: Path) -> list[dict[str, Any]]:
    """The rows of timing.csv; none where it is damaged, as no figure is made of it but the minutes that are shown."""
    try:
        rows = read_csv(path, columns=TIMING)
        columns = [csv_column(path, rows, name, convert) for name, convert in TIMING.items()]
    except DamagedError:
        return []
    return [dict(zip(TIMING, values, strict=True)) for values in zip(*columns, strict=True)]


def _canonical(value: Any) -> Any:
    """The same content in containers and texts of its own, so that equal states are pickled to equal bytes.

    Pickle writes an object that it has met before as a reference, and which texts are one object depends on whether the
    training was interrupted.
    """
    if isinstance(value, OrderedDict):  # a state dict, with the versions of its modules
        copy = OrderedDict((sys.intern(name), _canonical(entry)) for name, entry in value.items())
        if hasattr(value, "_metadata"):
            copy._metadata = _canonical(value._metadata)  # ty: ignore[missing-attribute] # torch's own
        return copy
    if isinstance(value, dict):
        return {_canonical(name): _canonical(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_canonical, value))
    return sys.intern(value) if isinstance(value, str) else value
