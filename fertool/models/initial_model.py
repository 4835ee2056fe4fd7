"""The random model that a training from scratch starts from."""

from typing import Any

import torch

from fertool.models import FaceClassifier
from fertool.models.registry import build_model
from fertool.runtime.hardware import seed_everything


def initial_model(recipe: dict[str, Any], seed: int, device: torch.device | str = "cpu") -> FaceClassifier:
    """The model of a recipe with the weights that `train` gives it under this seed, in evaluation mode.

    The state of PyTorch's generators is restored.
    """
    with torch.random.fork_rng():
        seed_everything(seed)
        model = build_model(**recipe)
    return model.to(device).eval()
