"""A network made a FaceClassifier: its family and where it is explained, found by looking at it."""

from typing import Any

from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, Family, InputSpec, TokenGrid
from fertool.models.frozen_eval import layer_outputs
from fertool.models.structure.cam_layer import FEWEST_CELLS, find_map


def face_classifier(
    network: nn.Module,
    spec: InputSpec,
    head: str,
    more_heads: tuple[str, ...] = (),
    *,
    tokens_first: bool = False,
) -> FaceClassifier:
    """The network with all that an explainer has to know about it.

    A vision transformer as timm writes them, with the same tokens in all blocks, is read at the last block's first
    norm, or behind the last block and its norm where the head pools the patches; any other network at the layer of
    `find_map`. It counts as a transformer where it has modules that attend, named as timm names their parts. Raises
    UserError where no layer has enough cells; the network's own error for a size that it cannot take passes through.
    `tokens_first` is that of `find_map`.
    """
    if _is_plain_transformer(network, spec):
        return _plain_transformer(network, spec, head, more_heads)
    channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    found = find_map(network, spec.zeros(), channels_last=channels_last, tokens_first=tokens_first)
    family: Family = "transformer" if any(_attends(module) for module in network.modules()) else "cnn"
    model = FaceClassifier(
        network,
        family,
        spec,
        found.name,
        head=head,
        more_heads=more_heads,
        maps_channels_last=found.channels_last,
        tokens=found.tokens,
    )
    model.found_cam_layer = None if found.deepest else found.name
    return model


def _attends(module: nn.Module) -> bool:
    return hasattr(module, "attn_drop") or (hasattr(module, "qkv") and hasattr(module, "num_heads"))


def _is_plain_transformer(network: nn.Module, spec: InputSpec) -> bool:
    """Whether the same tokens, prefix and patches, go through all blocks, each with a norm at its entrance."""
    grid: Any = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    blocks = getattr(network, "blocks", None)
    if (
        grid is None
        or not hasattr(network, "num_prefix_tokens")
        or not isinstance(blocks, nn.Sequential | nn.ModuleList)
        or not hasattr(blocks[-1], "norm1")
    ):
        return False
    prefix: Any = network.num_prefix_tokens
    seen = layer_outputs(network, f"blocks.{len(blocks) - 1}.norm1", spec.zeros())
    return len(seen) == 1 and isinstance(seen[0], Tensor) and seen[0].shape[1] == prefix + grid[0] * grid[1]


def _plain_transformer(
    network: Any, spec: InputSpec, head: str, more_heads: tuple[str, ...]
) -> FaceClassifier:
    rows, columns = network.patch_embed.grid_size
    patch = network.patch_embed.patch_size
    if any(spec.size % side for side in patch):
        raise UserError(
            f"patches of {patch[0]} pixels do not tile {spec.size}: give a multiple as --image-size"
        )
    if min(rows, columns) < FEWEST_CELLS:
        raise UserError(
            f"patches of {patch[0]} pixels leave {rows}x{columns} cells at {spec.size}, and a map needs at least "
            f"{FEWEST_CELLS}x{FEWEST_CELLS}: give {FEWEST_CELLS * patch[0]} or more as --image-size"
        )
    tokens = TokenGrid(
        prefix=network.num_prefix_tokens,
        read=_tokens_read(network),
        rows=rows,
        columns=columns,
    )
    last = f"blocks.{len(network.blocks) - 1}"
    return FaceClassifier(
        network,
        "transformer",
        spec,
        # under a class token the patches have no gradient at the last block's output, and have one at its entrance; a
        # head that pools the patches is reached through that output alone, but before a norm of each token gradient
        # times activation is 0 (the norm does not see a token's scale): so behind it
        f"{last}.norm1" if tokens.read else "norm" if hasattr(network, "norm") else last,
        head=head,
        more_heads=more_heads,
        tokens=tokens,
        attention_blocks=_attention_blocks(network),
    )


def _tokens_read(network: Any) -> int:
    if getattr(network, "cls_token", None) is None or network.global_pool != "token":
        return 0
    return 1 if getattr(network, "dist_token", None) is None else 2


def _attention_blocks(network: Any) -> tuple[str, ...]:
    """The self-attention of each block; a head that pools by attention is none, as it has no tokens on both sides.

    Differential attention (Ye et al. 2024), whose blocks weight values by the difference of two maps, is left out.
    """
    return tuple(
        f"blocks.{name}"
        for name, module in network.blocks.named_modules()
        if hasattr(module, "fused_attn") and not hasattr(module, "lambda_init")
    )
