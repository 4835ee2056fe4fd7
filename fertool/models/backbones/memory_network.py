"""A network that a Python process holds: `adopt` names it `memory:<hash>`, and this process finds it by that name."""

import copy
import hashlib
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones.user_network import find_head
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.structure.trial import check_behaviour, first_line
from fertool.models.structure.wrap_network import face_classifier

PREFIX = "memory:"
HASH_LENGTH = 12

Preprocess = Callable[[Tensor], Tensor]
"""Pixels 0..255 as float32, (B, H, W) or (B, H, W, 3), to the network's input (B, C, S, S); differentiable."""

_held: dict[str, tuple[nn.Module, InputSpec, Preprocess | None]] = {}


class PreprocessedClassifier(FaceClassifier):
    """A FaceClassifier whose preprocessing is a user's function."""

    own_preprocess: Preprocess

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Turn pixels as stored into network input (B, C, S, S), by the user's function."""
        return self.own_preprocess(pixels.to(self.device, torch.float32))


def is_memory_network(name: str) -> bool:
    """Whether a model's name is that of a network in memory."""
    return name.startswith(PREFIX)


def state_hash(network: nn.Module) -> str:
    """The SHA-256 of a network's tensors, with their names."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hold(network: nn.Module, spec: InputSpec, preprocess: Preprocess | None) -> str:
    """Keep a copy of a network for this process, and return the name of the model that it becomes."""
    name = f"{PREFIX}{state_hash(network)[:HASH_LENGTH]}"
    _held[name] = copy.deepcopy(network).cpu(), spec, preprocess
    return name


def build_memory_network(name: str, classes: int) -> FaceClassifier:
    """A copy of a network in memory, weights included.

    Raises UserError where another process holds it, and for a network that is no classifier of so many classes.
    """
    if name not in _held:
        raise UserError(
            f"{name}: this network is in the memory of the Python process that adopted it; explain and score it there, "
            "or adopt it with factory='package.module:function', which makes it anywhere"
        )
    held, spec, preprocess = _held[name]
    network = copy.deepcopy(held)
    head = find_head(name, network, spec, classes)
    check_behaviour(name, network, spec)
    model = face_classifier(network, spec, head)
    if preprocess is not None:
        model.__class__ = PreprocessedClassifier
        cast(PreprocessedClassifier, model).own_preprocess = preprocess
    return model


def tried_spec(preprocess: Preprocess, face: Tensor) -> InputSpec:
    """The input that a user's function makes of a face, (1, H, W) or (1, H, W, 3). Raises UserError where it fails."""
    try:
        inputs = preprocess(face.float())
    except Exception as error:  # the user's own code may raise anything
        raise UserError(f"adopt: preprocess failed on one face ({first_line(error)})") from None
    if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.shape[2] != inputs.shape[3]:
        shape = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise UserError(
            f"adopt: preprocess gave {shape} for one face, not an input (1, channels, side, side)"
        )
    channels = inputs.shape[1]
    return InputSpec(inputs.shape[-1], channels, (0.0,) * channels, (1.0,) * channels)
