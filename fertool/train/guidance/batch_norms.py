"""Batch norms behind the CAM layer, through which a face's map depends on no other face.

In training a batch norm uses the statistics of its batch, so each face's logits depend on all faces: the gradient of a
sum over the batch loses the batch's mean at each face, and the map of a face's label would be one of its label less the
others'. The map of a face is to be one of its own logits, as in evaluation: its gradient takes the statistics as
constants, also where that gradient is differentiated in turn. The gradient of the classification loss goes through the
statistics as usual.
"""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from fertool.models import FaceClassifier


@dataclass
class GradientRoute:
    """The way that gradients take through batch norms now: through the statistics, or past them as constants."""

    is_for_maps: bool = False

    @contextlib.contextmanager
    def for_maps(self) -> Generator[None]:
        """Inside, gradients take the statistics as constants."""
        self.is_for_maps = True
        try:
            yield
        finally:
            self.is_for_maps = False


class _Fork(torch.autograd.Function):
    """The first of two equal tensors; the gradient goes to the first, or, for maps, to the second."""

    @staticmethod
    def forward(ctx: Any, together: Tensor, _apart: Tensor, route: GradientRoute) -> Tensor:
        ctx.route = route
        return together.clone()  # the next layer may work in place, which a view would forbid

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        return (None, gradient, None) if ctx.route.is_for_maps else (gradient, None, None)


@contextlib.contextmanager
def faces_apart(model: FaceClassifier, is_behind: Callable[[], bool]) -> Generator[GradientRoute]:
    """Inside, batch norms in training mode give gradients two routes, once `is_behind` holds in a forward pass.

    Batch norms that are the CAM layer, or lie in it, are not behind it.
    """
    route, before = GradientRoute(), {*model.layer(model.cam_layer).modules()}

    def fork(norm: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        if not (norm.training and norm.track_running_stats and is_behind() and output.requires_grad):
            return None
        return _Fork.apply(output, _with_constant_statistics(norm, inputs[0]), route)

    with contextlib.ExitStack() as hooks:
        for norm in set(batch_norms(model)) - before:
            hooks.enter_context(norm.register_forward_hook(fork))
        yield route


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def _with_constant_statistics(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """The norm's output with the batch's statistics as constants."""
    assert norm.running_mean is not None  # `fork` asks for norms that track statistics
    others = [dim for dim in range(inputs.ndim) if dim != 1]
    exact = inputs.detach().to(norm.running_mean.dtype)
    variance, mean = torch.var_mean(exact, others, correction=0)
    norm.eval()
    try:
        return functional_call(norm, {"running_mean": mean, "running_var": variance}, (inputs,))
    finally:
        norm.train()
