"""A vision transformer of any library, found by trying it: its tokens, and where it is explained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec, TokenGrid
from fertool.models.frozen_eval import frozen_eval
from fertool.models.structure.cam_layer import FEWEST_CELLS

MOST_PREFIX_TOKENS = 16
LEAST_GRADIENT = 1e-6  # at a token that the head reads, in shares of the largest


@dataclass(frozen=True)
class Attends:
    """A module that attends, as one input (1, C, size, size) went through it."""

    name: str
    batch: int  # 1, or the number of windows
    queries: int  # tokens
    keys: int


def token_classifier(
    network: nn.Module,
    spec: InputSpec,
    patch: int | None,
    attending: Sequence[Attends],
    heads: tuple[str, ...],
) -> FaceClassifier | None:
    """The model of a network whose tokens, prefix and patches, keep their places throughout; None for any other.

    Args:
        network: from inputs (B, channels, size, size) to logits.
        spec: the input that its weights expect.
        patch: side of a patch in pixels, where the network says so.
        attending: its modules that attend, in the order in which they run.
        heads: its last submodules.

    Raises:
        UserError: patches do not tile the input, or leave too few cells.
    """
    if patch is None or not attending or any(one.batch != 1 or one.queries != one.keys for one in attending):
        return None
    cells = spec.size // patch
    prefix = attending[0].queries - cells**2
    if len({one.queries for one in attending}) > 1 or not 0 <= prefix <= MOST_PREFIX_TOKENS:
        return None
    if cells < FEWEST_CELLS:
        raise UserError(
            f"patches of {patch} pixels leave {cells}x{cells} cells at {spec.size}, and a map needs at least "
            f"{FEWEST_CELLS}x{FEWEST_CELLS}: give {FEWEST_CELLS * patch} or more as --image-size"
        )
    block = attending[-1].name.rpartition(".")[0]
    finished, reads = _reads(network, spec, block, attending[0].queries)
    if reads is None:
        return None
    read = int(reads[:prefix].sum())
    pools = bool(reads[prefix:].all())
    if not (pools or read) or (read and not reads[:read].all()):
        return None
    return FaceClassifier(
        network,
        "transformer",
        spec,
        _cam_layer(network, block, finished, pools=pools),
        head=heads[0] if heads else "",
        more_heads=heads[1:],
        tokens=TokenGrid(prefix, read, cells, cells, pools=pools and read > 0),
        attention_blocks=tuple(one.name for one in attending),
    )


def _reads(network: nn.Module, spec: InputSpec, block: str, tokens: int) -> tuple[list[str], Tensor | None]:
    """Modules that give these tokens, (1, tokens, C), in the order in which they finish; and those that the head reads.

    These are the tokens at the end of the last block that the logits have a gradient by, as bools (tokens,).
    """
    finished: list[str] = []
    at_end: list[Tensor] = []

    def note(name: str, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 3 or output.shape[1] != tokens:
            return None
        finished.append(name)
        if name != block:
            return None
        at_end.append(output.detach().requires_grad_())
        return at_end[-1].clone()

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(spec.zeros().shape, generator=generator)
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with frozen_eval(network), torch.enable_grad():
            logits = network(inputs)
            if not at_end:
                return finished, None
            (gradient,) = torch.autograd.grad(logits.square().sum(), at_end[-1], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    if gradient is None:
        return finished, None
    size = gradient[0].abs().amax(dim=1)
    return finished, size > LEAST_GRADIENT * size.max()


def _cam_layer(network: nn.Module, block: str, finished: Sequence[str], *, pools: bool) -> str:
    """The norm at the last block's entrance; where the head pools the patches, the last norm of them behind it."""
    norms = [name for name in finished if isinstance(network.get_submodule(name), nn.LayerNorm)]
    if pools:
        behind = [name for name in norms if finished.index(name) > finished.index(block)]
        return behind[-1] if behind else block
    inside = [name for name in norms if name.startswith(f"{block}.")]
    return inside[0] if inside else block
