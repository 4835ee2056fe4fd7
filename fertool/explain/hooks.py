"""Hooks with which explaining and guiding look into a network; the network is left as it was."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fertool.models.classifier import FaceClassifier


@dataclass
class Activation:
    """The output of a layer in the last forward pass."""

    value: Tensor | None = None

    @property
    def tensor(self) -> Tensor:
        """The output. Raises RuntimeError where the layer has not run."""
        if self.value is None:
            raise RuntimeError("the layer gave no output in this forward pass")
        return self.value


@contextlib.contextmanager
def captured(
    model: FaceClassifier, layer: str, *, cut: bool = True, copy: bool = True
) -> Generator[Activation]:
    """Keep the output of a layer that gives a tensor.

    Args:
        model: the model.
        layer: dotted name of a submodule of its network.
        cut: make the output a leaf that gradients can be asked for: everything before it is computed without a
            graph, as in inference. An uncut output becomes a leaf only where gradients are recorded and nothing
            before it asks for one, as behind frozen layers.
        copy: pass a copy on, so that an in-place layer behind does not overwrite the output.

    Raises:
        AttributeError: the model has no such layer.
    """
    activation = Activation()

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        begins = cut or (torch.is_grad_enabled() and not output.requires_grad)
        activation.value = output.detach().requires_grad_() if begins else output
        return activation.value.clone() if copy else activation.value

    with model.layer(layer).register_forward_hook(keep):
        yield activation


@contextlib.contextmanager
def attention_seen(
    model: FaceClassifier, blocks: Sequence[str], see: Callable[[Tensor], Tensor]
) -> Generator[None]:
    """Show `see` the attention of each named block, (B, heads, tokens, tokens), as the forward pass comes by.

    Rows are queries and add up to 1. The tensor that `see` returns goes on through the network. Only the named
    blocks compute their attention explicitly; the others, and all of them afterwards, keep the fused kernel.
    """
    # timm's attention modules: `fused_attn` is a flag, `attn_drop` a submodule
    modules: list[Any] = [model.layer(block) for block in blocks]
    fused = [module.fused_attn for module in modules]
    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for module in modules:
            handles.append(module.attn_drop.register_forward_pre_hook(lambda _, inputs: (see(inputs[0]),)))
            module.fused_attn = False
        yield
    finally:
        for module, was_fused in zip(modules, fused, strict=True):
            module.fused_attn = was_fused
        for handle in handles:
            handle.remove()
