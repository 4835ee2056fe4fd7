"""Batch norms behind the CAM layer, through which a face's map stays its own.

In training a batch norm takes the statistics of its batch, so each face's logits hang on all of them: of what the
gradient of a sum over the batch is at one face, the batch's mean is taken away, and a map of the face's label would
be one of its label less the others'. The map of a face, as in evaluation, is of its own logits: for its gradient
the statistics are given numbers, and so they are where that gradient is differentiated in turn. The gradient of the
classification's loss goes through them as ever.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from fertool.models import FaceClassifier


@dataclass
class Road:
    """Which way gradients take now."""

    of_maps: bool = False

    @contextlib.contextmanager
    def for_maps(self) -> Iterator[None]:
        """Inside, a gradient takes the statistics as given."""
        self.of_maps = True
        try:
            yield
        finally:
            self.of_maps = False


class _Fork(torch.autograd.Function):
    """The first of two equal tensors; its gradient is the first's, or, of maps, the second's."""

    @staticmethod
    def forward(ctx: Any, together: Tensor, apart: Tensor, road: Road) -> Tensor:
        ctx.road = road
        return together.clone()  # the next layer may work in place, which a view of it would forbid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        return (None, gradient, None) if ctx.road.of_maps else (gradient, None, None)


@contextlib.contextmanager
def faces_apart(model: FaceClassifier, is_behind: Callable[[], bool]) -> Iterator[Road]:
    """Inside, batch norms in training mode have two roads back, from where on `is_behind` holds in a forward pass.

    Those that are the CAM layer, or in it, are not behind it.
    """
    road, before = Road(), {*model.layer(model.cam_layer).modules()}

    def fork(norm: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        if not (norm.training and norm.track_running_stats and is_behind() and output.requires_grad):
            return None
        return _Fork.apply(output, _with_given_statistics(norm, inputs[0]), road)

    with contextlib.ExitStack() as hooks:
        for norm in set(batch_norms(model)) - before:
            hooks.enter_context(norm.register_forward_hook(fork))
        yield road


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def _with_given_statistics(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    others = [dim for dim in range(inputs.ndim) if dim != 1]
    exact = inputs.detach().to(norm.running_mean.dtype)
    variance, mean = torch.var_mean(exact, others, correction=0)
    norm.eval()
    try:
        return functional_call(norm, {"running_mean": mean, "running_var": variance}, (inputs,))
    finally:
        norm.train()
