"""Batch norms folded into the convolutions before them: the same logits in less time, where nobody looks between."""

import contextlib
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fertool.models.classifier import FaceClassifier

TRIED_PICTURES = 2
SAME = 1e-4  # largest difference of logits that counts as rounding, in shares of the largest logit


class _Folded(NamedTuple):
    """A convolution with the weights that make its norm superfluous."""

    convolution: nn.Module
    norm: nn.Module
    weight: nn.Parameter
    bias: nn.Parameter


def folding_norms(model: FaceClassifier) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The context in which every convolution does the work of the evaluated batch norm behind it.

        (w * x - mean) / sqrt(variance + eps) * scale + shift   is a convolution again

    A network whose logits of random pictures differ by more than rounding, as one may that uses the convolution's
    output a second time, is left as it is, and so is one on a GPU. The weights are those of now: the model must not
    train between this call and the context, which may be entered again.
    """
    folded = _fold(model) if model.device.type == "cpu" else []
    return partial(_swapped, folded if folded and _is_the_same(model, folded) else [])


@torch.no_grad()
def _fold(model: FaceClassifier) -> list[_Folded]:
    return [_Folded(convolution, norm, *_weights(convolution, norm)) for convolution, norm in _pairs(model)]


def _weights(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    assert norm.running_mean is not None and norm.running_var is not None  # see _folds
    return fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _pairs(model: FaceClassifier) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the norms that take their outputs as they are, found by running the network on zeros."""
    # by the id of the output, which is kept, so that no other tensor takes it
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: Counter[nn.Module] = Counter()

    def leave(convolution: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(convolution, nn.Conv2d)
        calls[convolution] += 1
        made[id(output)] = convolution, output, output._version

    def enter(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        calls[norm] += 1
        maps = inputs[0]
        if id(maps) in made:
            convolution, _, version = made[id(maps)]
            if maps._version == version:  # nothing was done to it in place
                pairs.append((convolution, norm))

    unwatched = [layer for layer in model.network.modules() if not layer._forward_hooks]
    with contextlib.ExitStack() as hooks:
        for layer in unwatched:
            if isinstance(layer, nn.Conv2d) and "weight" in layer._parameters:
                hooks.enter_context(layer.register_forward_hook(leave))
            elif isinstance(layer, nn.BatchNorm2d) and _folds(layer):
                hooks.enter_context(layer.register_forward_pre_hook(enter))
        with torch.inference_mode(False):  # in which changes in place are not counted
            model.logits(model.empty_input())
    return [pair for pair in pairs if all(calls[layer] == 1 for layer in pair)]


def _folds(norm: nn.BatchNorm2d) -> bool:
    return _is_known(norm) and not norm.training and norm.running_mean is not None


def _is_known(norm: nn.BatchNorm2d) -> bool:
    if type(norm) is nn.BatchNorm2d:
        return True
    from timm.layers import BatchNormAct2d  # slow to import, and only where a network is timm's

    return type(norm) is BatchNormAct2d


@contextlib.contextmanager
def _swapped(folded: list[_Folded]) -> Generator[None]:
    kept = [
        (convolution._parameters["weight"], convolution._parameters["bias"]) for convolution, *_ in folded
    ]
    try:
        for convolution, norm, weight, bias in folded:
            convolution._parameters.update(weight=weight, bias=bias)
            norm.forward = partial(_after_norm, norm)
        yield
    finally:
        for (convolution, norm, *_), (weight, bias) in zip(folded, kept, strict=True):
            convolution._parameters.update(weight=weight, bias=bias)
            vars(norm).pop("forward", None)  # the class's own shows again


def _after_norm(norm: Any, maps: Tensor) -> Tensor:
    """Do what a norm does to normalised maps: nothing, or, in timm's, its dropout and its activation."""
    return maps if type(norm) is nn.BatchNorm2d else norm.act(norm.drop(maps))


def _is_the_same(model: FaceClassifier, folded: list[_Folded]) -> bool:
    inputs = model.random_inputs(TRIED_PICTURES)
    with torch.inference_mode():
        own = model.logits(inputs)
        with _swapped(folded):
            difference = model.logits(inputs) - own
    return bool(difference.abs().max() <= SAME * own.abs().max())
