"""The layers of a network in the order in which they compute, and what passes through them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier
from fertool.models.frozen_eval import frozen_eval

See = Callable[[str, Tensor, Tensor], None]
"""The name of a layer, its first input and its output."""


@contextlib.contextmanager
def layers_seen(model: FaceClassifier, names: Sequence[str], see: See) -> Iterator[None]:
    """Show `see` what goes into and comes out of each named layer, as forward passes come by."""

    def show(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                see(name, inputs[0], output)

        return hook

    with contextlib.ExitStack() as hooks:
        for name in names:
            hooks.enter_context(model.layer(name).register_forward_hook(show(name)))
        yield


def parameterised_layers(model: FaceClassifier) -> list[str]:
    """Names of the modules with weights or statistics of their own, in the order in which they start.

    The name of the network itself, where it has weights of its own (a transformer's class token and position
    embeddings), is ''; it starts first. Modules that no picture passes through come before all others.
    """
    own = [
        name
        for name, module in model.network.named_modules()
        if [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    ]
    started: list[str] = []

    def note(name: str) -> Callable[[nn.Module, object], None]:
        return lambda module, inputs: started.append(name)

    with frozen_eval(model), torch.no_grad(), contextlib.ExitStack() as hooks:
        for name in own:
            hooks.enter_context(model.layer(name).register_forward_pre_hook(note(name)))
        model.network(model.empty_input())
    first = list(dict.fromkeys(started))
    return [name for name in own if name not in first] + first


def classifier_layer(model: FaceClassifier) -> str:
    """The name of the layer that gives the logits: the last with weights to start."""
    return parameterised_layers(model)[-1]
