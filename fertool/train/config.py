"""The settings of a training, and the name that follows from them.

A setting is named once, as a field of TrainConfig with its default and range; `fertool train` has an option of the
same name, with its help.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from fertool.errors import UserError
from fertool.models.classifier import Interpolation
from fertool.prepare.twins import NEAR
from fertool.train.augment import Augmentation
from fertool.train.guidance import FORMS
from fertool.train.schedule import SCHEDULES

HASH_LENGTH = 6
LABELS = ("own", "ferplus-soft")
PIXEL_RANGES = ("0-1", "0-255", "-1-1")
GUIDE_MASKS = ("own", "shuffled")
OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class Range:
    """The values that a setting may have, and how to say so."""

    holds: Callable[[Any], bool]
    words: str


def _choice(names: Sequence[str]) -> Range:
    return Range(lambda value: value in names, ", ".join(names))


def _is_unfreeze(value: str) -> bool:
    kind, _, number = value.partition(":")
    return value in ("all", "none") or (kind == "last" and number.isdigit())


ONE_OR_MORE = Range(lambda value: value >= 1, "1 or more")
ZERO_OR_MORE = Range(lambda value: value >= 0, "0 or more")
ABOVE_ZERO = Range(lambda value: value > 0, "above 0, and finite")
BELOW_ONE = Range(lambda value: 0 <= value < 1, "from 0 to below 1")
UP_TO_ONE = Range(lambda value: 0 <= value <= 1, "from 0 to 1")
SHARE = Range(lambda value: 0 < value <= 1, "above 0, at most 1")
CROP = Range(lambda value: 0.25 <= value <= 4, "from 0.25 to 4")
HALF_TURN = Range(lambda value: 0 <= value <= 180, "from 0 to 180")
UNFREEZE = Range(_is_unfreeze, "all, none, or last:N")
LEAKS = Range(lambda value: value in (False, True, NEAR), "identical or near")
SEED = Range(lambda value: 0 <= value < 2**63, "from 0 to below 2^63")


def _setting(default: Any, values: Range | None = None) -> Any:
    """A field of TrainConfig with the values that it may have besides None."""
    return field(default=default, metadata={"range": values})


@dataclass(frozen=True)
class TrainConfig:
    """Every setting that a training's numbers depend on. All of them but the seed are the run's condition.

    The defaults are the recipe `page`. Raises UserError, which names the option, for a value outside its range.
    """

    model: str = _setting("cnn")
    weights: str = _setting("auto")  # pretrained weights of the backbone; auto: the model's own default
    epochs: int = _setting(30, ZERO_OR_MORE)  # 0: a finished network is adopted as it is
    batch_size: int = _setting(64, ONE_OR_MORE)
    optimizer: str = _setting("adam", _choice(OPTIMIZERS))
    lr: float = _setting(1e-4, ABOVE_ZERO)  # peak learning rate of the head and, without backbone_lr, of all
    schedule: str = _setting("constant", _choice(SCHEDULES))
    warmup_epochs: float = _setting(0.0, ZERO_OR_MORE)  # the learning rate rises linearly from 0
    weight_decay: float = _setting(
        1e-4, ZERO_OR_MORE
    )  # Adam: L2 penalty; AdamW, SGD: decay of matrices, kernels
    clip: float | None = _setting(None, ZERO_OR_MORE)  # largest norm of the gradient; 0 and None: no limit
    label_smoothing: float = _setting(0.1, BELOW_ONE)
    balance: bool = _setting(False)  # weigh a face by the inverse frequency of its class
    labels: str = _setting("own", _choice(LABELS))  # ferplus-soft: the crowd's votes as a distribution
    self_distillation: float = _setting(
        0.0, UP_TO_ONE
    )  # final share of the network's earlier predictions in targets
    patience: int | None = _setting(
        None, ONE_OR_MORE
    )  # epochs without a better val accuracy before training stops
    ema: float | None = _setting(
        None, BELOW_ONE
    )  # decay per step of the weights' moving average, which is evaluated
    # pretrained networks
    freeze_epochs: int = _setting(0, ZERO_OR_MORE)  # first epochs, in which the new head trains alone
    unfreeze: str = _setting("all", UNFREEZE)  # the part of the backbone that trains afterwards
    backbone_lr: float | None = _setting(None, ABOVE_ZERO)  # None: lr
    layer_decay: float = _setting(
        1.0, SHARE
    )  # a stage's rate as a share of that of the next one towards the head
    # the network; None is the model's own default
    dropout: float | None = _setting(None, BELOW_ONE)
    drop_path: float | None = _setting(None, BELOW_ONE)
    image_size: int | None = _setting(None, ONE_OR_MORE)  # height and width of the network's input, pixels
    views: str | None = _setting(None)  # views of a multi-scale model; None: whole,face
    cam_layer: str | None = _setting(None)  # layer that a CAM reads; None: found by a trial
    channels: int | None = _setting(None)  # input channels of a user's own network, 1 or 3
    mean: tuple[float, ...] | None = _setting(None)  # of its input per channel, pixels scaled to 0..1
    std: tuple[float, ...] | None = _setting(None)
    # a network that was trained elsewhere, see fertool.train.adoption
    keep_head: bool = _setting(False)  # train it with its own head; with epochs 0 its head is kept anyway
    class_order: tuple[str, ...] | None = _setting(None)  # classes of its outputs; None: as its file says
    pixel_range: str | None = _setting(None, _choice(PIXEL_RANGES))  # of the pixels that it expects
    bgr: bool = _setting(False)  # its input's channels are blue, green, red
    interpolation: str | None = _setting(None, _choice(get_args(Interpolation)))  # to its input's size
    crop_scale: float | None = _setting(
        None, CROP
    )  # side of the square that it sees, in shares of the face's
    # augmentation of the faces, see fertool.train.augment
    flip: bool = _setting(True)
    shift: float = _setting(0.05, BELOW_ONE)
    rotate_deg: float = _setting(0.0, HALF_TURN)
    crop: float = _setting(0.0, BELOW_ONE)
    zoom: float = _setting(0.0, BELOW_ONE)
    jitter: float = _setting(0.0, BELOW_ONE)
    noise: float = _setting(0.0, BELOW_ONE)
    erase: float = _setting(0.0, UP_TO_ONE)
    mixup: float = _setting(0.0, ZERO_OR_MORE)
    # attention guidance, see fertool.train.guidance
    guide: str | None = _setting(None, _choice(tuple(FORMS)))  # what the label's map shall do; None: nothing
    guide_weight: float = _setting(
        1.0, ZERO_OR_MORE
    )  # lambda; 0: maps are measured, and nothing is asked of them
    guide_explainer: str | None = _setting(None)  # whose map; None: the default of the model's family
    guide_map: str | None = _setting(None)  # relu, abs or signed; None: the explainer's default
    guide_warmup: float = _setting(0.0, ZERO_OR_MORE)  # epochs in which lambda rises from 0
    guide_masks: str = _setting("own", _choice(GUIDE_MASKS))  # shuffled, the placebo: another face's masks
    guide_regions: tuple[tuple[str, float], ...] | None = _setting(None)  # the shares that `regions` wants
    drop_leaks: bool | str = _setting(
        False, LEAKS
    )  # leave faces out of train that have a twin in val or test
    train_fraction: float = _setting(1.0, SHARE)  # of each class's faces in train, chosen by the seed
    precision: str = _setting("auto")
    compile: bool = _setting(False)  # compile the network by torch.compile
    seed: int = _setting(0, SEED)

    def __post_init__(self) -> None:
        """Raise UserError for a value outside its range, and for settings that exclude each other."""
        for setting in fields(self):
            value, values = getattr(self, setting.name), setting.metadata["range"]
            if values is not None and value is not None and not (_is_finite(value) and values.holds(value)):
                raise UserError(f"{option(setting.name)} {value}: must be {values.words}")
        for name in ("warmup_epochs", "freeze_epochs", "guide_warmup"):
            if self.epochs and (value := getattr(self, name)) > self.epochs:
                raise UserError(f"{option(name)} {value:g}: the training has {self.epochs} epochs only")
        self._check_combinations()
        if self.epochs and not self.keep_head:
            self._refuse_settings_of_adoption()
        if self.keep_head and not self.epochs:
            raise UserError("--keep-head: with --epochs 0 a network keeps its head anyway; leave it out")

    def _refuse_settings_of_adoption(self) -> None:
        for name in ("class_order", "pixel_range", "bgr", "interpolation", "crop_scale"):
            if getattr(self, name):
                raise UserError(
                    f"{option(name)}: belongs to a finished network (--epochs 0, or --keep-head); leave it out"
                )

    def _check_combinations(self) -> None:
        if self.self_distillation and self.mixup:
            raise UserError(
                "--self-distillation: learns from predictions of single faces, and --mixup shows "
                "none; give --mixup 0, or --self-distillation 0"
            )
        if self.guide is not None and self.compile:
            raise UserError("--guide: a compiled network cannot be differentiated twice; leave --compile out")
        if self.guide_regions is not None and self.guide != "regions":
            raise UserError(f"--guide-regions: belongs to --guide regions, not to --guide {self.guide}")

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of the faces."""
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


def option(name: str) -> str:
    """How a setting is written on the command line."""
    return "--train-labels" if name == "labels" else f"--{name.replace('_', '-')}"


def settings_in(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of TrainConfig, `model` apart, among the parameters of `fertool train`."""
    names = (setting.name for setting in fields(TrainConfig) if setting.name != "model")
    return {name: parameters[name] for name in names if name in parameters}


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
