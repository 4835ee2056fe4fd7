"""Trained weights on disk: safetensors, with what is needed to rebuild the model in its metadata."""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier
from fertool.models.registry import build_model
from fertool.models.weights.files import read_safetensors
from fertool.models.weights.recipe import METADATA_KEY, parse_recipe
from fertool.runtime.files import replacing
from fertool.workspace import Run, Workspace


def save_model(model: FaceClassifier, path: Path) -> None:
    """Write the network's weights and the model's recipe."""
    # clones: safetensors refuses what shares memory, as a module that a network holds under two names does
    weights = {
        name: value.detach().cpu().contiguous().clone() for name, value in model.network.state_dict().items()
    }
    with replacing(path) as handle:
        handle.write(save(weights, metadata={METADATA_KEY: json.dumps(model.recipe)}))


def load_run_model(workspace: Workspace, run: Run, device: torch.device | str = "cpu") -> FaceClassifier:
    """The model of a finished run, in evaluation mode.

    Raises UserError where its weights are missing, damaged, or not those that run.json describes.
    """
    workspace.require_intact(run.run_json, run.best)
    return load_model(run.best, device)


def load_model(path: Path, device: torch.device | str = "cpu") -> FaceClassifier:
    """The model in a file that `save_model` wrote, in evaluation mode.

    Raises UserError where the file is missing, is no such file, or does not fit the model that it names.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; has 'fertool train' finished this run?")
    weights, metadata = read_safetensors(path)
    recipe = parse_recipe(path, metadata)
    if recipe is None:
        raise UserError(f"{path}: no fertool metadata in this file; it was not written by 'fertool train'")
    model = build_model(**recipe)
    try:
        model.network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(f"{path}: does not fit model '{recipe['name']}' ({reason[:200]})") from None
    return model.to(device).eval()
