"""A model with random weights in the place of a trained one's: what a map or a feature owes to training."""

from typing import Any

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones import multiscale
from fertool.models.backbones.memory_network import is_memory_network
from fertool.models.backbones.user_network import is_user_network
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.models.registry import build_model
from fertool.runtime.hardware import seed_everything


def initial_model(recipe: dict[str, Any], seed: int, device: torch.device | str = "cpu") -> FaceClassifier:
    """The model of a recipe with the random weights that `train` gives it under this seed, in evaluation mode.

    A user's function may load weights into its network: layers that come out the same under another seed are made
    random here, see `randomise`. The state of PyTorch's generators is restored. Raises UserError for a network of a
    user's whose logits stay the same nevertheless.
    """
    with torch.random.fork_rng():
        seed_everything(seed)
        model = build_model(**recipe)
        name = recipe["name"].removeprefix(multiscale.PREFIX)
        if is_user_network(name) or is_memory_network(name):
            seed_everything(seed + 1)
            other = build_model(**recipe)
            seed_everything(seed)
            _require_random(model, other)
    return model.to(device).eval()


def randomise(layer: nn.Module) -> None:
    """Draw a layer's own parameters anew by its own rule; permute their values where it has none."""
    for rule in ("reset_parameters", "_reset_parameters"):
        if hasattr(layer, rule):
            getattr(layer, rule)()
            return
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            flat = parameter.flatten()
            parameter.copy_(flat[torch.randperm(len(flat))].view_as(parameter))


def _require_random(model: FaceClassifier, other: FaceClassifier) -> None:
    """Randomise the layers of a model that are the same in another, and check that the logits have changed."""
    pairs = list(zip(model.network.modules(), other.network.modules(), strict=True))
    same = [layer for layer, twin in pairs if _equal_parameters(layer, twin)]
    # a network whose weights are no parameters has nothing that its constructor draws, and nothing to draw anew
    drawn = any(_varied(layer, twin) for layer, twin in pairs)
    if drawn and not same:
        return
    before = _logits(model)
    for layer in same:
        randomise(layer)
    if torch.allclose(_logits(model), before, rtol=1e-3, atol=0):
        raise UserError(
            f"{model.recipe['name']}: its weights cannot be randomised (the logits stay the same), so there is no "
            "untrained network to compare with; keep them in nn.Parameter"
        )


def _equal_parameters(layer: nn.Module, twin: nn.Module) -> bool:
    """Whether two layers have parameters of their own that are equal, and not each a constant, as norms begin with."""
    varied = _varied(layer, twin)
    return bool(varied) and all(torch.equal(ours, theirs) for ours, theirs in varied)


def _varied(layer: nn.Module, twin: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """A layer's own parameters that are not each a constant, with those of its twin."""
    pairs = zip(layer.parameters(recurse=False), twin.parameters(recurse=False), strict=True)
    return [
        (ours, theirs)
        for ours, theirs in pairs
        if ours.numel() > 1 and not bool((ours == ours.flatten()[0]).all())
    ]


def _logits(model: FaceClassifier) -> Tensor:
    with frozen_eval(model), torch.no_grad():
        return model.network(model.random_inputs(2))
