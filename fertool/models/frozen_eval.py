"""Looking into a model without leaving a trace in it."""

import contextlib
from collections.abc import Generator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def frozen_eval(model: nn.Module) -> Generator[None]:
    """Set a model to evaluation mode and its parameters to no gradients; restore both afterwards.

    No graph is then built before the layer that a caller asks the gradient of. An outer `torch.inference_mode` is
    suspended, as no gradient could be had in it. The caller decides whether gradients are recorded.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        with torch.inference_mode(False):
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def layer_outputs(network: nn.Module, layer: str, inputs: Tensor) -> list[object]:
    """The outputs of a submodule, one for each time that it runs, when the network is tried on these inputs."""
    seen: list[object] = []
    module = network.get_submodule(layer)

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        seen.append(output)

    with frozen_eval(network), torch.no_grad(), module.register_forward_hook(note):
        network(inputs)
    return seen
