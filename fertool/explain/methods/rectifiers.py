"""The rectifying activations of a network, found in autograd's graph: whoever wrote them, as a module or a function.

A rectifier's output is positive just where its input is: ReLU and its relatives, SiLU, GELU, Mish, hard swish, and
any product of a tensor with an elementwise gate of itself, x * sigmoid(b x) for instance.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

# autograd's names for the backward passes of rectifiers, without the number at their end
RECTIFYING = {
    "CeluBackward", "EluBackward", "GeluBackward", "HardswishBackward", "LeakyReluBackward", "MishBackward",
    "PreluKernelBackward", "ReluBackward", "RreluWithNoiseBackward", "SiluBackward", "SoftplusBackward",
}  # fmt: skip
# rectifiers where they cut at 0
CUTTING = {
    "ClampBackward": "_saved_min",
    "ClampMinBackward": "_saved_min",
    "HardtanhBackward": "_saved_min_val",
    "ThresholdBackward": "_saved_threshold",
}
# elementwise operations that a gate of a tensor may be made of
GATING = {
    "AddBackward", "ClampBackward", "DivBackward", "ErfBackward", "ExpBackward", "HardsigmoidBackward",
    "HardtanhBackward", "MulBackward", "NegBackward", "ReluBackward", "SigmoidBackward", "SoftplusBackward",
    "SubBackward", "TanhBackward", "ToCopyBackward",
}  # fmt: skip
LONGEST_GATE = 8  # operations
# elementwise operations that bend a tensor in another way than a rectifier does
BENDING = {
    "AbsBackward", "ClampBackward", "ClampMinBackward", "ExpBackward", "GluBackward", "HardshrinkBackward",
    "HardsigmoidBackward", "HardtanhBackward", "LogSigmoidBackward", "MaximumBackward", "MinimumBackward",
    "SigmoidBackward", "SinBackward", "SoftshrinkBackward", "TanhBackward", "ThresholdBackward", "WhereBackward",
}  # fmt: skip


@dataclass(frozen=True)
class Rectifiers:
    """The activations of a forward pass: those that rectify, each with its input, and the names of all others.

    The input is None where the rectifier's own derivative is 0 for negative inputs.
    """

    found: list[tuple[Node, Tensor | None]]
    others: list[str]


def find_rectifiers(logits: Tensor) -> Rectifiers:
    """The activations in the graph that leads to the logits (B, C)."""
    nodes = list(_nodes(logits))
    found: list[tuple[Node, Tensor | None]] = []
    inside_gates: set[Node] = set()
    for node in nodes:
        if _name(node) == "MulBackward":
            gated = _self_gated(node)
            if gated is not None:
                value, gate = gated
                found.append((node, value))
                inside_gates |= gate
    others = []
    for node in nodes:
        if node in inside_gates:
            continue
        if _rectifies(node):
            found.append((node, None if _name(node) == "ReluBackward" else _input_sign(node)))
        elif _bends_a_map(node):
            others.append(node.name())
    return Rectifiers(found, sorted(set(others)))


def _nodes(logits: Tensor) -> Iterator[Node]:
    waiting = [] if logits.grad_fn is None else [logits.grad_fn]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)


def _name(node: Node) -> str:
    return re.sub(r"\d+$", "", node.name())


def _rectifies(node: Node) -> bool:
    name = _name(node)
    return name in RECTIFYING or (name in CUTTING and getattr(node, CUTTING[name]) == 0)


def _input_sign(node: Node) -> Tensor:
    """The input of a rectifier, or its output, which has the same sign."""
    # an activation that works in place has overwritten its input, and keeps its output
    kept: Tensor = getattr(node, "_saved_self" if hasattr(node, "_saved_self") else "_saved_result")
    return kept


def _self_gated(product: Node) -> tuple[Tensor, set[Node]] | None:
    """The x of x * gate(x), and the operations of the gate; None for another product."""
    factors = [(node, output) for node, output in product.next_functions if node is not None]
    if len(factors) != 2:
        return None
    left, right = factors
    for value, gate, kept in ((left, right, "_saved_self"), (right, left, "_saved_other")):
        inside = _gate_of(value, gate)
        if inside:
            return getattr(product, kept), inside
    return None


def _gate_of(value: tuple[Node, int], gate: tuple[Node, int]) -> set[Node]:
    """The elementwise operations between a value and its gate; none where other operations lie between."""
    inside: set[Node] = set()
    waiting, reached, sources = [gate], False, _before_scaling(value)
    while waiting:
        place = waiting.pop()
        node, _ = place
        if place in sources:
            reached = True
        elif _name(node) in GATING and len(inside) < LONGEST_GATE:
            inside.add(node)
            waiting += [(before, output) for before, output in node.next_functions if before is not None]
        else:
            return set()
    bends = any(
        _name(node) not in ("AddBackward", "DivBackward", "MulBackward", "SubBackward") for node in inside
    )
    return inside if reached and bends else set()


def _before_scaling(value: tuple[Node, int]) -> set[tuple[Node, int]]:
    """A value, and what it was before it was multiplied by constants: 0.5 x (1 + erf(x)) is gated by x."""
    sources = {value}
    while _name(value[0]) in ("MulBackward", "DivBackward"):
        before = [(node, output) for node, output in value[0].next_functions if node is not None]
        if len(before) != 1:
            break
        (value,) = before
        sources.add(value)
    return sources


def _bends_a_map(node: Node) -> bool:
    if _name(node) in BENDING:
        shape = _output_shape(node)
        # gates of channels and of places have one cell or one channel; an activation has many of both
        return len(shape) == 4 and min(shape[1:]) > 1
    # nobody knows what a function written in Python does; operators of other libraries (roi_align) are none
    return (
        isinstance(node, torch.autograd.function.BackwardCFunction)
        and not node.name().startswith("GeneratedBackwardFor")
        and any(
            before is not None and _output_shape(before) == _output_shape(node)
            for before, _ in node.next_functions
        )
    )


def _output_shape(node: Node) -> tuple[int, ...]:
    """The shape of the first output of the operation whose backward pass this is."""
    return tuple(node._input_metadata[0].shape)
