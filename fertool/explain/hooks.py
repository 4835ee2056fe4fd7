"""What explaining and guiding hook into a network; it is left as it was."""

import contextlib
import functools
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

    handle = model.layer(layer).register_forward_hook(keep)
    try:
        yield activation
    finally:
        handle.remove()


# rectifying activations: those whose output is positive just where their input is
RECTIFIERS = {
    "ELU",
    "GELU",
    "GELUTanh",
    "HardSwish",
    "Hardswish",
    "LeakyReLU",
    "Mish",
    "QuickGELU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Swish",
}
BLOCKING = {"ReLU", "ReLU6"}


@dataclass
class Guidance:
    """Whether gradients follow the guided rule just now, or are plain."""

    on: bool = False


@contextlib.contextmanager
def guided(model: FaceClassifier) -> Iterator[Guidance]:
    """Let gradients pass rectifying activations by the guided rule while `Guidance.on`.

    A gradient passes where it is positive and the activation's input is, multiplied by the activation's
    derivative there (1 for ReLU, as Springenberg et al. 2015 have it; for SiLU, GELU and their like the same
    rule with their own derivative).
    """
    guidance = Guidance()

    def follow(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        if type(module).__name__ in BLOCKING:
            # its own derivative, 0 or 1, asks for a positive input; what it has made is nobody else's yet
            output.grad_fn.register_hook(
                lambda inputs, outputs: (inputs[0].clamp_(min=0),) if guidance.on else None
            )
        else:
            # the output's sign is the input's, which an in-place activation has overwritten
            positive = output.detach() > 0
            output.register_hook(lambda grad: grad.clamp(min=0) * positive if guidance.on else grad)

    handles = [
        module.register_forward_hook(follow)
        for module in model.network.modules()
        if type(module).__name__ in RECTIFIERS
    ]
    try:
        yield guidance
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def affine_norms(model: FaceClassifier) -> Iterator[None]:
    """Let the batch norms compute, in evaluation mode, the affine map that they are: y = s x + t.

        s = weight / sqrt(variance + eps)        t = bias - mean s

    The way back is then one product, and nothing need be kept for it from the forward pass: PyTorch keeps each
    norm's input, half of all that a gradient by the pixels keeps in a residual network.
    """
    norms = [module for module in model.network.modules() if _is_affine(module)]
    try:
        for norm in norms:
            scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
            shift = norm.bias.detach() - norm.running_mean * scale
            norm.forward = functools.partial(
                _affine, norm, scale=scale.view(1, -1, 1, 1), shift=shift.view(1, -1, 1, 1)
            )
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _is_affine(module: nn.Module) -> bool:
    kept = type(module) is nn.BatchNorm2d and module.affine and module.running_var is not None
    return kept and "forward" not in module.__dict__  # nobody else stands in for it


def _affine(norm: nn.BatchNorm2d, inputs: Tensor, *, scale: Tensor, shift: Tensor) -> Tensor:
    if inputs.dtype != scale.dtype:  # a norm of lower precision computes in higher
        return nn.BatchNorm2d.forward(norm, inputs)
    return torch.addcmul(shift, inputs, scale)


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
