"""Recipes: named sets of training settings, and those that each kind of model gets by default."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from fertool.errors import UserError
from fertool.masks.regions import REGIONS
from fertool.models.backbones.hub_library import is_hub_model
from fertool.models.backbones.multiscale import PREFIX
from fertool.models.registry import OWN
from fertool.train.augment import PRESETS
from fertool.train.config import TrainConfig
from fertool.train.guidance import FORMS
from fertool.train.guide_weights import read_guide_weights

# The plain training of the published description, the same for every model: Adam, batch 64, 30 epochs, learning
# rate 1e-4, the whole network from the first step. These are the defaults of TrainConfig.
PAGE: dict[str, Any] = {}

# Fine-tuning of a network made for larger pictures. Its control from scratch trains by the same settings, so that
# nothing but pretraining differs.
_CONVOLUTIONAL = {
    "optimizer": "adamw",
    "epochs": 12,
    "lr": 5e-4,
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "weight_decay": 0.05,
    "clip": 5.0,
    "rotate_deg": 10.0,
    "crop": 0.15,
    "jitter": 0.2,
}
# Transformers want smaller steps in their lower blocks (Bao et al. 2022, 'BEiT', section 3.2)
_TRANSFORMER = {**_CONVOLUTIONAL, "layer_decay": 0.75, "drop_path": 0.1, "clip": 1.0}

# Models of transformers, of either kind, whose stochastic depth is that of their configuration
_HUB = {**_CONVOLUTIONAL, "layer_decay": 0.75, "clip": 1.0}

# The best settings found for our own networks without pretraining and without other faces
STRONG: dict[str, dict[str, Any]] = {
    "cnn": {
        "optimizer": "adamw",
        "epochs": 80,
        "lr": 2e-3,
        "schedule": "cosine",
        "warmup_epochs": 2.0,
        "weight_decay": 0.05,
        "ema": 0.9995,
        "label_smoothing": 0.05,
        "self_distillation": 0.7,
        "rotate_deg": 8.0,
        "crop": 0.1,
        "jitter": 0.1,
    },
    "resnet48": {
        "optimizer": "adamw",
        "epochs": 50,
        "lr": 2e-3,
        "schedule": "cosine",
        "warmup_epochs": 3.0,
        "weight_decay": 0.05,
        "ema": 0.999,
        "label_smoothing": 0.05,
        "self_distillation": 0.8,
        "rotate_deg": 10.0,
        "shift": 0.08,
        "zoom": 0.15,  # not a crop, beside which the faces of val and test are small
        "jitter": 0.2,
        "erase": 0.3,
    },
}

TRANSFORMER_MODULES = (
    "beit",
    "cait",
    "deit",
    "eva",
    "swin_transformer",
    "swin_transformer_v2",
    "vision_transformer",
)  # of timm

# The best found for pretrained convolutional networks, on tf_efficientnet_lite0. A zoom stands in the crop's place, as
# in resnet48's, and targets hold the network's own earlier answers.
STRONG_OF_KIND: dict[str, dict[str, Any]] = {
    "convolutional": {
        **_CONVOLUTIONAL,
        "epochs": 24,
        "ema": 0.999,
        "label_smoothing": 0.05,
        "self_distillation": 0.7,
        "crop": 0.0,
        "shift": 0.08,
        "zoom": 0.15,
        "erase": 0.3,
    }
}

OF_KIND: dict[str, dict[str, Any]] = {
    "small": PAGE,
    "convolutional": _CONVOLUTIONAL,
    "transformer": _TRANSFORMER,
    "hub": _HUB,
}
RECIPES = ("page", "strong")


def configure(
    model: str,
    recipe: str | None = None,
    augment: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """The settings of a training: the recipe's, over them the preset's, over them those that are given.

    Args:
        model: the model's name.
        recipe: one of RECIPES; None: the recipe of the model's kind.
        augment: one of PRESETS; None: the recipe's own augmentation.
        settings: fields of TrainConfig; those that are None are not given. Text is read as the command line writes
            it: `mean`, `std` and `guide_weight` as numbers with commas between, `guide_regions` as `eyes=2,mouth=1`.

    Raises:
        UserError: for a name that does not exist, for a recipe that the model does not have, and for values that
            cannot be.
    """
    if augment is not None and augment not in PRESETS:
        raise UserError(f"--augment {augment}: there are {', '.join(PRESETS)}")
    given = _read({name: value for name, value in (settings or {}).items() if value is not None})
    chosen = dict(_recipe_settings(model.removeprefix(PREFIX), recipe))
    if augment is not None:
        chosen |= vars(PRESETS[augment])
    if given.get("labels") == "ferplus-soft":
        chosen["label_smoothing"] = 0.0  # the crowd's votes are as soft as they are
    chosen |= given
    chosen |= _fitting_warmup(chosen, given)
    if any(name.startswith("guide_") for name in chosen):
        chosen.setdefault("guide", next(iter(FORMS)))
    return TrainConfig(model=model, **chosen)


def _read(given: dict[str, Any]) -> dict[str, Any]:
    """The settings, with the texts of the command line read."""
    readers: dict[str, Callable[[str], Any]] = {
        "mean": lambda text: _numbers("mean", text),
        "std": lambda text: _numbers("std", text),
        "class_order": lambda text: tuple(name.strip() for name in text.split(",")),
        "guide_weight": lambda text: read_guide_weights(text)[0],
        "guide_regions": _region_shares,
    }
    return {
        name: readers[name](value) if name in readers and isinstance(value, str) else value
        for name, value in given.items()
    }


def _fitting_warmup(chosen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, float]:
    """A recipe's warm-up is no longer than the training, and none with the schedule one-cycle, which has its own."""
    if chosen.get("schedule") == "one-cycle":
        if given.get("warmup_epochs"):
            raise UserError("--warmup-epochs: the schedule one-cycle has a warm-up of its own; leave it out")
        return {"warmup_epochs": 0.0}
    if "warmup_epochs" in chosen and "warmup_epochs" not in given and "epochs" in given:
        return {"warmup_epochs": min(chosen["warmup_epochs"], given["epochs"])}
    return {}


def _recipe_settings(model: str, recipe: str | None) -> Mapping[str, Any]:
    if recipe is None and model == "resnet48":  # nothing plainer is sensible for it
        return STRONG[model]
    if recipe is None:
        return OF_KIND[_kind(model)]
    if recipe not in RECIPES:
        raise UserError(f"no recipe '{recipe}'; there are {', '.join(RECIPES)}")
    if recipe == "page":
        return PAGE
    strong = STRONG.get(model) or STRONG_OF_KIND.get(_kind(model))
    if strong is None:
        raise UserError(
            f"--recipe strong: made for {', '.join(STRONG)} and convolutional networks of other libraries, not for "
            f"{model}; leave it out, and {model} trains by settings of its own"
        )
    return strong


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in text.split(","))
        if not all(map(math.isfinite, numbers)):
            raise ValueError
    except ValueError:
        raise UserError(f"--{option} {text}: give a number for each channel, with commas between") from None
    return numbers


def _region_shares(text: str) -> tuple[tuple[str, float], ...]:
    """The wanted share of each region, written as `eyes=2,face contour=1`, in the order of REGIONS."""
    wanted = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            wanted[name.strip()] = float(share)
        except ValueError:
            raise UserError(f"--guide-regions {text}: give shares as eyes=2,mouth=1") from None
    if unknown := [name for name in wanted if name not in REGIONS]:
        raise UserError(f"--guide-regions {text}: no region '{unknown[0]}'; there are {', '.join(REGIONS)}")
    if min(wanted.values()) < 0 or not 0 < sum(wanted.values()) < math.inf:
        raise UserError(f"--guide-regions {text}: shares are 0 or more, and not all 0")
    return tuple((name, wanted[name]) for name in REGIONS if name in wanted)


def _kind(model: str) -> str:
    if is_hub_model(model):
        return "hub"
    if model in OWN or ":" in model:  # one of ours, or the user's own
        return "small"
    if model in ("vit", "facevit"):
        return "transformer"
    if model in ("vggface", "vggface2", "dlibface"):
        return "convolutional"
    from timm.models import is_model_in_modules

    return "transformer" if is_model_in_modules(model, TRANSFORMER_MODULES) else "convolutional"
