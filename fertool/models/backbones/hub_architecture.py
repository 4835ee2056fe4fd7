"""The configuration of a model of `transformers`, and the preprocessing that its image processor describes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.models.backbones.hub_library import library, one_line, quiet
from fertool.models.classifier import InputSpec, Interpolation

SQUASHED_FROM = 384  # pixels: from this size on ConvNeXt's image processor cuts nothing off
# Pillow's numbers of its filters; lanczos, box and hamming have their nearest relatives here
FILTERS: dict[int, Interpolation] = {
    0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic", 4: "area", 5: "bilinear",
}  # fmt: skip


def read_architecture(folder: Path, name: str) -> dict[str, Any]:
    """The configuration and the preprocessing in a folder of transformers, as `build_hub` takes them.

    Raises UserError where config.json or preprocessor_config.json is missing or is of another kind of model.
    """
    transformers = library(name)
    for file in ("config.json", "preprocessor_config.json"):
        if not (folder / file).is_file():
            raise UserError(f"--model {name}: there is no {file} in {folder}; put the model's own file there")
    with quiet(), one_line(name, f"{folder}: its configuration cannot be read"):
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        spec = _read_input(json.loads(processor.to_json_string()), config)
    return architecture(config, spec)


def architecture(config: Any, spec: InputSpec) -> dict[str, Any]:
    """A configuration of transformers, without the path that it came from, and an input."""
    settings = json.loads(config.to_json_string(use_diff=False))
    settings.pop("_name_or_path", None)
    return {"config": settings, "input": asdict(spec)}


def _read_input(settings: dict[str, Any], config: Any) -> InputSpec:
    size = _side(settings.get("size"))
    crop = _side(settings.get("crop_size")) if settings.get("do_center_crop") else None
    share = settings.get("crop_pct")
    if not settings.get("do_resize", True):
        raise UserError("its preprocessor resizes nothing; give the size of its input as do_resize and size")
    # ConvNeXt's processor: the whole is size / crop_pct, and its centre is cut out
    if share and size < SQUASHED_FROM and not crop:
        size, crop = int(size / share), size
    channels = int(getattr(config, "num_channels", 3) or 3)
    factor = 255 * (settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1)
    normalised = settings.get("do_normalize", True)
    mean = _per_channel(settings.get("image_mean") if normalised else 0.0, channels)
    std = _per_channel(settings.get("image_std") if normalised else 1.0, channels)
    return InputSpec(
        size=crop or size,
        channels=channels,
        mean=tuple(value / factor for value in mean),
        std=tuple(value / factor for value in std),
        bgr=bool(settings.get("do_flip_channel_order", False)),
        interpolation=FILTERS.get(int(settings.get("resample", 2)), "bilinear"),
        crop_scale=crop / size if crop else 1.0,
    )


def _side(size: Any) -> int:
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return int(size)


def _per_channel(values: Any, channels: int) -> tuple[float, ...]:
    numbers = [float(value) for value in (values if isinstance(values, list | tuple) else [values])]
    return tuple(numbers * channels if len(numbers) == 1 else numbers)


def input_spec(written: dict[str, Any], size: int | None) -> InputSpec:
    """The input in an architecture, as `read_architecture` wrote it; `size` takes the place of its own."""
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in written.items()
    }
    if size is not None:
        settings["size"] = size
    return InputSpec(**settings)
