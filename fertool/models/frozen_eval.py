"""Looking into a model without leaving a trace in it."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and parameters without gradients inside; modes and flags as before outside.

    Without gradients on the parameters no graph is built before the layer that is asked for.
    Surroundings of `torch.inference_mode` end here, where no gradient could be had; whether gradients are
    recorded is for the caller to say.
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
    """What a submodule gives when the network is tried on these inputs, each time that it runs."""
    seen: list[object] = []
    module = network.get_submodule(layer)
    with (
        frozen_eval(network),
        torch.no_grad(),
        module.register_forward_hook(lambda module, given, output: seen.append(output)),
    ):
        network(inputs)
    return seen
