"""The recipe of a model: the arguments of `build_model` that make it again, in the metadata of its weights."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError, safe_open

from fertool.errors import UserError
from fertool.models.classifier import Interpolation

METADATA_KEY = "fertool"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and value > 0


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


OPTIONAL: dict[str, Callable[[object], bool]] = {
    "dropout": _is_number,
    "drop_path": _is_number,
    "image_size": _is_count,
    "variant": _is_text,
    "cam_layer": _is_text,
    "channels": _is_count,
    "mean": _are_numbers,
    "std": _are_numbers,
    "views": _is_text,
    "bgr": lambda value: isinstance(value, bool),
    "interpolation": lambda value: value in get_args(Interpolation),
    "crop_scale": _is_positive,
    "architecture": lambda value: isinstance(value, dict),
    "network_classes": _is_count,
    "outputs": lambda value: isinstance(value, list) and all(type(output) is int for output in value),
}


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe in a file that one of our own runs wrote; None for a file of another origin or kind.

    Raises UserError where the file has metadata of ours that are no recipe.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return None
    return parse_recipe(path, metadata)


def parse_recipe(path: Path, metadata: dict[str, str]) -> dict[str, Any] | None:
    """The recipe in the metadata of the file `path`; None where it has none. Raises UserError for what is none."""
    if METADATA_KEY not in metadata:
        return None
    try:
        recipe = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError):
        recipe = None
    if (
        not isinstance(recipe, dict)
        or not _is_text(recipe.get("name"))
        or not _is_count(recipe.get("classes"))
    ):
        raise UserError(
            f"{path}: its metadata '{METADATA_KEY}' is no recipe of a model; get or train the file again"
        )
    for key, value in recipe.items():
        if key in ("name", "classes"):
            continue
        if key not in OPTIONAL or not (value is None or OPTIONAL[key](value)):
            raise UserError(
                f"{path}: its metadata has a setting of the model that this version does not know ({key[:40]!r}); "
                "get or train the file again"
            )
    return recipe
