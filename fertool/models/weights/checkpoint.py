"""Trained weights on disk: safetensors, with what is needed to rebuild the model in its metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier
from fertool.models.registry import build_model
from fertool.runtime.files import replacing

METADATA_KEY = "fertool"


def save_model(model: FaceClassifier, path: Path) -> None:
    """Write the network's weights and the model's recipe."""
    # clones: safetensors refuses what shares memory, as a module that a network holds under two names does
    weights = {
        name: value.detach().cpu().contiguous().clone() for name, value in model.network.state_dict().items()
    }
    with replacing(path) as handle:
        handle.write(save(weights, metadata={METADATA_KEY: json.dumps(model.recipe)}))


def load_model(path: Path, device: torch.device | str = "cpu") -> FaceClassifier:
    """The model in a file that `save_model` wrote, in evaluation mode.

    Raises UserError where the file is missing, is no such file, or does not fit the model that it names.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; has 'fertool train' finished this run?")
    try:
        with safe_open(path, framework="pt") as file:
            recipe = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); train the run again") from None
    if recipe is None:
        raise UserError(f"{path}: no fertool metadata in this file; it was not written by 'fertool train'")
    model = build_model(**recipe)
    try:
        model.network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(f"{path}: does not fit model '{recipe['name']}' ({reason})") from None
    return model.to(device).eval()
