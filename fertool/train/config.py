"""What a training is asked to do, and the name that follows from it."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from fertool.errors import UserError
from fertool.train.augment import Augmentation
from fertool.train.guidance import FORMS
from fertool.train.schedule import SCHEDULES

HASH_LENGTH = 6


@dataclass(frozen=True)
class TrainConfig:
    """Every setting that a training's numbers depend on. The seed apart, it is the run's condition."""

    model: str = "cnn"
    weights: str = "auto"  # what the backbone was pretrained on; auto: the model's own default
    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "adam"
    lr: float = 1e-4  # the largest learning rate of the head and, unless said otherwise, of the backbone
    schedule: str = "constant"
    warmup_epochs: float = 0.0  # in which the rate rises from nothing
    weight_decay: float = 1e-4  # Adam: L2 penalty; AdamW, SGD: decay of matrices and kernels
    clip: float | None = None  # largest norm of the gradient; 0 and None: any
    label_smoothing: float = 0.1
    balance: bool = False  # a face counts by the inverse of its class's frequency
    labels: str = "own"  # or ferplus-soft: the crowd's votes as a distribution
    self_distillation: float = 0.0  # largest share of the network's own earlier predictions in the targets
    patience: int | None = None  # thawed epochs without a better val accuracy after which training stops
    ema: float | None = None  # decay a step of the weights' moving mean, which is then what is kept
    # pretrained networks
    freeze_epochs: int = 0  # in which the new head trains alone
    unfreeze: str = "all"  # what trains afterwards: all, last:N (stages), none
    backbone_lr: float | None = None  # None: lr
    layer_decay: float = 1.0  # a stage's rate as a share of that of the next one towards the head
    # the network
    dropout: float | None = None  # None: the model's own default
    drop_path: float | None = None  # likewise
    image_size: int | None = None  # pixels that the network sees; None: the model's own default
    views: str | None = None  # of a multi-scale model: whole,face if not said
    cam_layer: str | None = None  # where a CAM reads the network; None: found by trying
    channels: int | None = None  # of a user's own network: 1 or 3
    mean: tuple[float, ...] | None = None  # of its input, a channel, of pixels scaled to 0..1
    std: tuple[float, ...] | None = None
    # faces
    flip: bool = True  # left-right, one face in two
    shift: float = 0.05  # at most this share of the side, each way; edges are repeated
    rotate_deg: float = 0.0
    crop: float = 0.0
    zoom: float = 0.0
    jitter: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    # attention guidance
    guide: str | None = (
        None  # what is asked of the label's map, see fertool.train.guidance.forms; None: nothing
    )
    guide_weight: float = 1.0  # lambda; 0: maps are measured, and nothing is asked of them
    guide_explainer: str | None = None  # whose map; None: the default of the model's family
    guide_map: str | None = None  # relu, abs or signed; None: the explainer's default
    guide_warmup: float = 0.0  # epochs in which lambda rises from nothing
    guide_masks: str = "own"  # or shuffled, the placebo: each face is guided by another face's
    guide_regions: tuple[tuple[str, float], ...] | None = None  # the shares that `regions` wants
    drop_leaks: bool = False  # leave out of train what has an identical twin in val or test
    train_fraction: float = 1.0  # of each class's faces in train, drawn by seed
    precision: str = "auto"
    compile: bool = False  # the network, by torch.compile
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UserError for a value outside its range."""
        for name, (fits, wanted) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (fits(value) and _is_finite(value)):
                raise UserError(f"--{name.replace('_', '-')} {value}: must be {wanted}")
        for name in ("warmup_epochs", "freeze_epochs", "guide_warmup"):
            if (value := getattr(self, name)) > self.epochs:
                raise UserError(
                    f"--{name.replace('_', '-')} {value:g}: the training has {self.epochs} epochs only"
                )
        if self.self_distillation and self.mixup:
            raise UserError(
                "--self-distillation: learns from predictions of single faces, and --mixup shows "
                "none; say --mixup 0, or --self-distillation 0"
            )
        if self.guide is not None and self.compile:
            raise UserError("--guide: a compiled network cannot be differentiated twice; leave --compile out")
        if self.guide_regions is not None and self.guide != "regions":
            raise UserError(f"--guide-regions: of --guide regions only, not of {self.guide}")

    @property
    def augmentation(self) -> Augmentation:
        """What happens to the faces."""
        return Augmentation(**{field.name: getattr(self, field.name) for field in fields(Augmentation)})

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are not default, the seed apart."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "seed" and getattr(self, field.name) != field.default
        }

    @property
    def condition_name(self) -> str:
        """`<model>`, with a short hash of what is not default behind it where there is any."""
        name = self.model.replace(":", "-").replace("/", "-")
        changed = {option: value for option, value in self.changed.items() if option != "model"}
        if not changed:
            return name
        digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
        return f"{name}-{digest[:HASH_LENGTH]}"

    @property
    def run_name(self) -> str:
        """The run's folder, unless `--name` gives another."""
        return f"{self.condition_name}-s{self.seed}"

    def as_record(self) -> dict[str, Any]:
        """Every setting, for run.json."""
        return json.loads(json.dumps(asdict(self)))


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _share(value: float) -> bool:
    return 0 <= value < 1


def _is_unfreeze(value: str) -> bool:
    kind, _, number = value.partition(":")
    return value in ("all", "none") or (kind == "last" and number.isdigit())


LABELS = ("own", "ferplus-soft")
GUIDE_MASKS = ("own", "shuffled")
OPTIMIZERS = ("adam", "adamw", "sgd")
RANGES = {
    "optimizer": (lambda value: value in OPTIMIZERS, ", ".join(OPTIMIZERS)),
    "schedule": (lambda value: value in SCHEDULES, ", ".join(SCHEDULES)),
    "epochs": (lambda value: value >= 1, "1 or more"),
    "batch_size": (lambda value: value >= 1, "1 or more"),
    "lr": (lambda value: value > 0, "above 0, and finite"),
    "warmup_epochs": (lambda value: value >= 0, "0 or more"),
    "weight_decay": (lambda value: value >= 0, "0 or more"),
    "clip": (lambda value: value >= 0, "0 or more"),
    "label_smoothing": (_share, "from 0 to below 1"),
    "labels": (lambda value: value in LABELS, ", ".join(LABELS)),
    "self_distillation": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "patience": (lambda value: value >= 1, "1 or more"),
    "ema": (_share, "from 0 to below 1"),
    "freeze_epochs": (lambda value: value >= 0, "0 or more"),
    "unfreeze": (_is_unfreeze, "all, none, or last:N"),
    "backbone_lr": (lambda value: value > 0, "above 0"),
    "layer_decay": (lambda value: 0 < value <= 1, "above 0, at most 1"),
    "dropout": (_share, "from 0 to below 1"),
    "drop_path": (_share, "from 0 to below 1"),
    "image_size": (lambda value: value >= 1, "1 or more"),
    "shift": (_share, "from 0 to below 1"),
    "rotate_deg": (lambda value: 0 <= value <= 180, "from 0 to 180"),
    "crop": (_share, "from 0 to below 1"),
    "zoom": (_share, "from 0 to below 1"),
    "jitter": (_share, "from 0 to below 1"),
    "noise": (_share, "from 0 to below 1"),
    "erase": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "mixup": (lambda value: value >= 0, "0 or more"),
    "guide": (lambda value: value in FORMS, ", ".join(FORMS)),
    "guide_weight": (lambda value: value >= 0, "0 or more"),
    "guide_warmup": (lambda value: value >= 0, "0 or more"),
    "guide_masks": (lambda value: value in GUIDE_MASKS, ", ".join(GUIDE_MASKS)),
    "train_fraction": (lambda value: 0 < value <= 1, "above 0, at most 1"),
    "seed": (lambda value: 0 <= value < 2**63, "from 0 to below 2^63"),
}
