"""Where a CAM reads a convolutional network, found by trying it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fertool.errors import UserError

LEAST_CELLS = 7  # a side: a 3x3 map cannot tell eyes from mouth


def find_cam_layer(network: nn.Module, inputs: Tensor, *, channels_last: bool = False) -> str:
    """The deepest layer with at least 7x7 cells through which everything passes that the logits depend on.

    `inputs` (1, C, S, S) is any network input. Layers are taken in the order in which they finish, so that
    a block comes after the activation that ends it. A layer inside a residual branch does not count: what
    goes past it, a map of it would not see. Raises UserError where no layer qualifies.
    """
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.eval().requires_grad_(False)
        for name in _by_depth(network, inputs, channels_last):
            if _everything_passes(network, name, inputs):
                return name
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    raise UserError(
        f"no layer of {type(network).__name__} has {LEAST_CELLS}x{LEAST_CELLS} cells at {inputs.shape[-1]} "
        "pixels: give a larger --image-size"
    )


def _by_depth(network: nn.Module, inputs: Tensor, channels_last: bool) -> Iterator[str]:
    """Names of the layers whose output is a map of enough cells, the last to finish first."""
    finished: list[str] = []

    def note(name: str) -> None:
        def hook(module: nn.Module, arguments: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                cells = output.shape[1:3] if channels_last else output.shape[2:]
                # a map of a square picture is square: other tensors of four dimensions are none
                if cells[0] == cells[1] >= LEAST_CELLS:
                    finished.append(name)

        handles.append(network.get_submodule(name).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name, _ in network.named_modules():
            if name:
                note(name)
        with torch.no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return reversed(finished)


def _everything_passes(network: nn.Module, name: str, inputs: Tensor) -> bool:
    """Whether the logits no longer depend on the input once this layer's output is taken for a constant."""
    handle = network.get_submodule(name).register_forward_hook(
        lambda module, arguments, output: output.detach()
    )
    try:
        with torch.enable_grad():
            return not network(inputs.clone().requires_grad_()).requires_grad
    finally:
        handle.remove()
