"""What explaining and guiding hook into a network; it is left as it was."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fertool.models.classifier import FaceClassifier


@dataclass
class Activation:
    """The output of a layer in the last forward pass."""

    value: Tensor | None = None


@contextlib.contextmanager
def captured(
    model: FaceClassifier, layer: str, *, cut: bool = True, copy: bool = True
) -> Iterator[Activation]:
    """Keep the output of a layer; with `cut` it becomes a leaf that gradients can be asked for.

    What lies before a cut is computed without a graph, as in inference. Uncut it becomes a leaf only where
    gradients are recorded and nothing before it asks for one, as behind frozen layers. `copy` may be left out
    where nothing behind the layer works in place. Raises AttributeError where the model has no such layer.
    """
    activation = Activation()

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        begins = cut or (torch.is_grad_enabled() and not output.requires_grad)
        activation.value = output.detach().requires_grad_() if begins else output
        # a copy goes on through the network, where an in-place layer may overwrite it
        return activation.value.clone() if copy else activation.value

    with model.layer(layer).register_forward_hook(keep):
        yield activation


@contextlib.contextmanager
def attention_seen(
    model: FaceClassifier, blocks: Sequence[str], see: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Show `see` the attention of each named block, (B, heads, tokens, tokens), as the forward pass comes by.

    Rows are queries and add up to 1. What `see` returns goes on through the network. Only the named blocks
    compute their attention explicitly; the others, and all of them afterwards, keep the fused kernel.
    """
    modules = [model.layer(block) for block in blocks]
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
