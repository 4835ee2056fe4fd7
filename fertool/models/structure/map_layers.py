"""The layers of a network that hold all it knows of a picture as a map, found by trying it."""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import TopologicalSorter

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fertool.errors import UserError
from fertool.models.frozen_eval import frozen_eval

Place = tuple[Node | None, int]
"""A tensor in autograd's graph: the operation that gave it, and as which of its outputs."""


@dataclass(frozen=True)
class MapLayer:
    """A layer whose output is a map."""

    name: str
    cells: int  # a side


def map_layers(network: nn.Module, inputs: Tensor, *, channels_last: bool = False) -> list[MapLayer]:
    """The layers that give a map through which everything passes that the logits depend on.

    `inputs` (1, C, S, S) is any network input. Layers come in the order in which they finish, so that a block
    comes after the activation that ends it; of a layer that runs several times the last output counts. A layer
    inside a residual branch is none of them: what goes past it, a map of it would not see. Raises UserError where
    nothing leads from the logits back to the picture.
    """
    with frozen_eval(network):
        return _try(network, inputs, channels_last)


def _try(network: nn.Module, inputs: Tensor, channels_last: bool) -> list[MapLayer]:
    finished: dict[str, tuple[Place, int]] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], Tensor | None]:
        def hook(module: nn.Module, arguments: object, output: object) -> Tensor | None:
            finished.pop(name, None)
            cells = _cells(output, channels_last)
            if cells is None:
                return None
            # of an identity that stands for what goes past a block the output is the very tensor that went in
            own = output.clone()
            finished[name] = _place(own), cells
            return own

        return hook

    with torch.enable_grad(), contextlib.ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(note(name)))
        picture = inputs.detach().clone().requires_grad_()
        logits = network(picture.clone())
    paths = _paths(logits, picture)
    if not paths[_place(logits)]:
        raise UserError(
            "the logits have no gradient by the picture, so nothing explains them; take torch.no_grad() and detach() "
            "out of the network (--unfreeze none freezes its backbone)"
        )
    return [
        MapLayer(name, cells)
        for name, (place, cells) in finished.items()
        if paths[place] == paths[_place(logits)]
    ]


def _cells(output: object, channels_last: bool) -> int | None:
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    rows, columns = output.shape[1:3] if channels_last else output.shape[2:]
    # a map of a square picture is square: other tensors of four dimensions are none
    return rows if rows == columns else None


def _place(tensor: Tensor) -> Place:
    return tensor.grad_fn, tensor.output_nr


def _paths(logits: Tensor, picture: Tensor) -> Counter[Place]:
    """How many of the paths from the logits back to the picture lead over each place.

    Over a place that they all lead over everything passes. Paths are counted as products, those from the logits
    to a place and those from it to the picture, as there may be very many.
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
    paths: Counter[Place] = Counter({_place(logits): to_picture[logits.grad_fn]})
    for node in reversed(from_picture_on):
        for before, output in node.next_functions:
            if before is not None:
                from_logits[before] += from_logits[node]
                paths[before, output] += from_logits[node] * to_picture[before]
    return paths
