"""The layers of a network in the order in which they compute, with their inputs and outputs."""

import contextlib
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier
from fertool.models.frozen_eval import frozen_eval

See = Callable[[str, Tensor, Tensor], None]
"""A function that takes the name of a layer, its first input and its output."""


@contextlib.contextmanager
def layers_seen(model: FaceClassifier, names: Sequence[str], see: See) -> Generator[None]:
    """Inside the context, call `see` with the input and output of each named layer at every forward pass."""

    def show(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(_module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                see(name, inputs[0], output)

        return hook

    with contextlib.ExitStack() as hooks:
        for name in names:
            hooks.enter_context(model.layer(name).register_forward_hook(show(name)))
        yield


def parameterised_layers(model: FaceClassifier) -> list[str]:
    """Names of the modules with weights or statistics of their own, in the order in which they start.

    The network itself has the name '' and starts first, where it has weights of its own (a transformer's class token
    and position embeddings). Modules that no image passes through come before all others.
    """
    own = [
        name
        for name, module in model.network.named_modules()
        if [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    ]
    started: list[str] = []

    def note(name: str) -> Callable[[nn.Module, object], None]:
        def hook(_module: nn.Module, _inputs: object) -> None:
            started.append(name)

        return hook

    with frozen_eval(model), torch.no_grad(), contextlib.ExitStack() as hooks:
        for name in own:
            hooks.enter_context(model.layer(name).register_forward_pre_hook(note(name)))
        model.network(model.empty_input())
    first = list(dict.fromkeys(started))
    return [name for name in own if name not in first] + first


def layers_by_depth(model: FaceClassifier) -> dict[str, list[str]]:
    """The layers of `parameterised_layers` from the logits down, those at one place of several branches together.

    A group is called as its layers are within their branch.
    """
    prefixes = [view.prefix for view in model.views if view.prefix]
    groups: dict[str, list[str]] = {}
    for name in reversed(parameterised_layers(model)):
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        groups.setdefault(name.removeprefix(prefix), []).append(name)
    return groups


def classifier_layer(model: FaceClassifier) -> str:
    """The name of the layer that computes the logits: the last one with weights that starts."""
    return parameterised_layers(model)[-1]
