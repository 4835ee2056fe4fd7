"""What a training is asked to do, and the name that follows from it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from fertool.errors import UserError

HASH_LENGTH = 6


@dataclass(frozen=True)
class TrainConfig:
    """Every setting that a training's numbers depend on. The seed apart, it is the run's condition."""

    model: str = "cnn"
    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-4  # Adam's step size
    weight_decay: float = 1e-4  # Adam's L2 penalty
    label_smoothing: float = 0.1
    dropout: float | None = None  # None: the model's own default
    image_size: int | None = None  # pixels that the network sees; None: the model's own default
    flip: bool = True  # left-right, one face in two
    shift: float = 0.05  # at most this share of the side, each way; edges are repeated
    drop_leaks: bool = False  # leave out of train what has an identical twin in val or test
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UserError for a value outside its range."""
        _require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        _require(self.batch_size >= 1, "batch-size", self.batch_size, "1 or more")
        _require(self.lr > 0, "lr", self.lr, "above 0")
        _require(self.weight_decay >= 0, "weight-decay", self.weight_decay, "0 or more")
        _require(0 <= self.label_smoothing < 1, "label-smoothing", self.label_smoothing, "from 0 to below 1")
        _require(self.dropout is None or 0 <= self.dropout < 1, "dropout", self.dropout, "from 0 to below 1")
        _require(0 <= self.shift < 1, "shift", self.shift, "from 0 to below 1")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")

    @property
    def condition(self) -> dict[str, Any]:
        """The configuration less the seed: what tables compare."""
        return {name: value for name, value in asdict(self).items() if name != "seed"}

    @property
    def condition_name(self) -> str:
        """`<model>`, with a short hash of what is not default behind it where there is any."""
        defaults = {field.name: field.default for field in fields(self)}
        changed = {
            name: value
            for name, value in self.condition.items()
            if name != "model" and value != defaults[name]
        }
        if not changed:
            return self.model
        digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
        return f"{self.model}-{digest[:HASH_LENGTH]}"

    @property
    def run_name(self) -> str:
        """The run's folder, unless `--name` gives another."""
        return f"{self.condition_name}-s{self.seed}"


def _require(holds: bool, option: str, value: object, wanted: str) -> None:
    if not holds:
        raise UserError(f"--{option} {value}: must be {wanted}")
