"""The layers through which everything passes that a network knows of an image, as a map: found by trying it."""

import contextlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import TopologicalSorter

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fertool.errors import UserError
from fertool.models.frozen_eval import frozen_eval

Vertex = tuple[Node | None, int]
"""A tensor in autograd's graph: the operation that computed it, and the number among its outputs."""


@dataclass(frozen=True)
class MapLayer:
    """A layer whose output is a square map."""

    name: str
    cells: int  # a side


def map_layers(
    network: nn.Module, inputs: Tensor, *, channels_last: bool = False, tokens: bool = False
) -> list[MapLayer]:
    """The layers whose output is a map through which everything passes that the logits depend on.

    `inputs` (1, C, S, S) is any network input. Maps are (B, K, h, h), or (B, h, h, K) where `channels_last`, or
    (B, h * h, K) where `tokens`. Layers come in the order in which they finish, so that a block comes
    after the activation that ends it; where a layer runs several times, its last output counts. A layer inside a
    residual branch is left out: a map of it would miss the shortcut. Raises UserError where no gradient leads from the
    logits back to the image.
    """
    with frozen_eval(network):
        return _try(network, inputs, channels_last, tokens)


def _try(network: nn.Module, inputs: Tensor, channels_last: bool, tokens: bool) -> list[MapLayer]:
    finished: dict[str, tuple[Vertex, int]] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], Tensor | None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
            finished.pop(name, None)
            cells = _cells(output, channels_last, tokens)
            if cells is None or not isinstance(output, Tensor):
                return None
            # a clone, as the output of an identity in a shortcut is the very tensor that went in
            own = output.clone()
            finished[name] = _vertex(own), cells
            return own

        return hook

    with torch.enable_grad(), contextlib.ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(note(name)))
        picture = inputs.detach().clone().requires_grad_()
        logits = network(picture.clone())
    paths = _paths(logits, picture)
    if not paths[_vertex(logits)]:
        raise UserError(
            "the logits have no gradient by the image, so nothing explains them; take torch.no_grad() and detach() "
            "out of the network (--unfreeze none freezes its backbone)"
        )
    return [
        MapLayer(name, cells)
        for name, (vertex, cells) in finished.items()
        if paths[vertex] == paths[_vertex(logits)]
    ]


def _cells(output: object, channels_last: bool, tokens: bool) -> int | None:
    if isinstance(output, Tensor) and tokens:
        side = math.isqrt(output.shape[1]) if output.ndim == 3 else 0
        return side if side and side**2 == output.shape[1] else None
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    rows, columns = output.shape[1:3] if channels_last else output.shape[2:]
    # a map of a square image is square: other tensors of four dimensions are no maps
    return rows if rows == columns else None


def _vertex(tensor: Tensor) -> Vertex:
    return tensor.grad_fn, tensor.output_nr


def _paths(logits: Tensor, picture: Tensor) -> Counter[Vertex]:
    """The number of paths from the logits back to the image that lead over each vertex.

    Everything passes through a vertex that lies on all of them. The number is a product, as there may be very many:
    the paths from the logits to the vertex, times those from the vertex to the image.
    """
    if logits.grad_fn is None:
        return Counter()
    nodes: dict[Node, list[Node]] = {}
    waiting = [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node not in nodes:
            nodes[node] = [before for before, _ in node.next_functions if before is not None]
            waiting += nodes[node]
    from_picture_on = list(TopologicalSorter(nodes).static_order())
    to_picture: dict[Node, int] = {}
    for node in from_picture_on:
        is_picture = getattr(node, "variable", None) is picture
        to_picture[node] = is_picture + sum(to_picture[before] for before in nodes[node])
    from_logits: Counter[Node] = Counter({logits.grad_fn: 1})
    paths: Counter[Vertex] = Counter({_vertex(logits): to_picture[logits.grad_fn]})
    for node in reversed(from_picture_on):
        for before, output in node.next_functions:
            if before is not None:
                from_logits[before] += from_logits[node]
                paths[before, output] += from_logits[node] * to_picture[before]
    return paths
