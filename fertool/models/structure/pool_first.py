"""Max-pooling before the ReLU that it follows: the same numbers in less time, where nobody looks between the two."""

import contextlib
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from fertool.models.classifier import FaceClassifier

TRIED_PICTURES = 2


def pooling_first(model: FaceClassifier) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The context in which every ReLU before a 2x2 max-pooling meets a quarter of the cells; logits are the same bits.

        max(relu(a), relu(b), ...) = relu(max(a, b, ...))

    Only without gradients, which PyTorch's pooling gives to the first of equal cells. A network whose logits of random
    pictures differ, as one may that does not call its layers one after the other, is left as it is, and so is one on
    a GPU. The context may be entered again.
    """
    pairs = _pairs(model.network) if model.device.type == "cpu" else []
    return partial(_swapped, pairs if pairs and _is_the_same(model, pairs) else [])


def _pairs(network: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The ReLUs and the poolings right behind them that stand at one place of the network alone."""
    places = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    return [
        (first, second)
        for sequence in network.modules()
        if isinstance(sequence, nn.Sequential)
        for first, second in pairwise(sequence)
        if type(first) is nn.ReLU
        and type(second) is nn.MaxPool2d
        and _halves(second)
        and all(places[id(module)] == 1 and not module._forward_hooks for module in (first, second))
    ]


def _halves(pooling: nn.MaxPool2d) -> bool:
    sizes = (pooling.kernel_size, pooling.stride, pooling.padding, pooling.dilation)
    plain = all(
        found in (wanted, (wanted, wanted)) for found, wanted in zip(sizes, (2, 2, 0, 1), strict=True)
    )
    return plain and not pooling.ceil_mode and not pooling.return_indices


@contextlib.contextmanager
def _swapped(pairs: list[tuple[nn.Module, nn.Module]]) -> Generator[None]:
    for relu, pooling in pairs:
        relu.forward, pooling.forward = _pass, _pool_and_rectify
    try:
        yield
    finally:
        for module in (module for pair in pairs for module in pair):
            del module.forward  # the class's own shows again


def _pass(maps: Tensor) -> Tensor:
    return maps


def _pool_and_rectify(maps: Tensor) -> Tensor:
    """The largest of each 2x2 cells of maps (B, C, h, w), rectified; the last row or column of an odd number is cut."""
    height, width = (side // 2 * 2 for side in maps.shape[-2:])
    columns = torch.maximum(maps[..., 0:width:2], maps[..., 1:width:2])
    return torch.maximum(columns[..., 0:height:2, :], columns[..., 1:height:2, :]).clamp_(min=0)


def _is_the_same(model: FaceClassifier, pairs: list[tuple[nn.Module, nn.Module]]) -> bool:
    inputs = model.random_inputs(TRIED_PICTURES)
    with torch.inference_mode():
        own = model.logits(inputs)
        with _swapped(pairs):
            return torch.equal(model.logits(inputs), own)
