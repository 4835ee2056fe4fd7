"""What changes from step to step of a training, and how it is saved and loaded."""

import pickle
from typing import Any

import torch
from torch import nn

from fertool.errors import UserError
from fertool.models import FaceClassifier, save_model
from fertool.runtime.files import replacing, write_csv
from fertool.train.config import TrainConfig
from fertool.train.ema import ExponentialMovingAverage
from fertool.train.self_distillation import EarlierPredictions
from fertool.workspace import Run


class TrainingState:
    """The weights, and everything beside them that a training needs to go on to the same bits.

    Attributes:
        model: the network that is trained.
        network: the same, or its wrapper that shares gradients between processes.
        optimizer: of the parameters that train at present; there is none before the first epoch.
        ema: the moving average of the weights, where one is asked for.
        earlier: earlier predictions of the faces, where self-distillation is asked for.
        history, timing: a row of history.csv and of timing.csv for each finished epoch.
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
        """Write `last.pt`."""
        with replacing(run.last) as handle:
            torch.save(
                {
                    "network": self.model.network.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "mean": self.ema and self.ema.state_dict(),
                    "earlier": self.earlier and self.earlier.state_dict(),
                    "history": self.history,
                    "timing": self.timing,
                },
                handle,
            )

    def load(self, run: Run) -> None:
        """Go on from `last.pt`, where there is one. Raises UserError where it is no whole checkpoint."""
        if not run.last.exists():
            return
        try:
            saved = torch.load(run.last, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            # other RuntimeErrors may come from a full memory; a machine that lost its power leaves half a file
            if isinstance(error, RuntimeError) and "PytorchStreamReader" not in str(error):
                raise
            raise UserError(f"{run.last}: no whole checkpoint; --force begins the run again") from None
        self.model.network.load_state_dict(saved["network"])
        if self.ema:
            self.ema.load_state_dict(saved["mean"])
        if self.earlier:
            self.earlier.load_state_dict(saved["earlier"])
        self.history, self.timing = saved["history"], saved["timing"]
        self._saved_optimizer = saved["optimizer"]

    def publish(self, run: Run) -> None:
        """Write what the last epoch came to: its weights where they are the best so far, and all epochs' figures."""
        if self.history[-1]["best"]:
            save_model(self.eval_model, run.best)
        write_csv(run.history_csv, list(self.history[-1]), [list(row.values()) for row in self.history])
        write_csv(run.timing_csv, list(self.timing[-1]), [list(row.values()) for row in self.timing])
