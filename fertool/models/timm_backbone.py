"""Any convolutional network or vision transformer of timm, by its timm name."""

import timm
import torch
from torch import nn

from fertool.errors import UserError
from fertool.models.cam_layer import find_cam_layer
from fertool.models.classifier import FaceClassifier, InputSpec, TokenGrid

ALIASES = {"vit": "vit_base_patch16_224"}


def is_timm_model(name: str) -> bool:
    """Whether timm has a model of that name (or we have another name for it)."""
    return timm.is_model(ALIASES.get(name, name))


def build_timm(
    name: str, classes: int, dropout: float | None = None, image_size: int | None = None
) -> FaceClassifier:
    """A timm model with random weights and a new head.

    Input statistics are those of its pretrained configuration, and so is the input size unless `image_size`
    is given. Raises UserError where the architecture takes no such size.
    """
    name = ALIASES.get(name, name)
    config = timm.get_pretrained_cfg(name)
    size = image_size or config.input_size[-1]
    options = {} if dropout is None else {"drop_rate": dropout}
    if image_size is not None and _takes_size(name):
        options["img_size"] = image_size
    try:
        network = timm.create_model(name, num_classes=classes, **options)
    except (AssertionError, ValueError) as error:
        raise UserError(f"{name} cannot be built at {size} pixels ({error})") from None
    spec = InputSpec(size=size, channels=config.input_size[0], mean=config.mean, std=config.std)
    channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    try:
        if _is_plain_transformer(network, spec):
            return _plain_transformer(network, spec)
        cam_layer = find_cam_layer(
            network, torch.zeros(1, spec.channels, size, size), channels_last=channels_last
        )
    except (AssertionError, RuntimeError) as error:
        raise UserError(f"{name} takes no pictures of {size} pixels ({error})") from None
    attends = any(hasattr(module, "attn_drop") for module in network.modules())
    family = "transformer" if attends else "cnn"
    return FaceClassifier(network, family, spec, cam_layer, maps_channels_last=channels_last)


def _takes_size(name: str) -> bool:
    """Transformers with position embeddings are built for a size; convolutional networks take any."""
    return timm.get_pretrained_cfg(name).fixed_input_size


def _is_plain_transformer(network: nn.Module, spec: InputSpec) -> bool:
    """Whether the same tokens, prefix and patches, go through all blocks, each with a norm at its entrance."""
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    blocks = getattr(network, "blocks", None)
    if not hasattr(network, "num_prefix_tokens") or grid is None or not hasattr(blocks[-1], "norm1"):
        return False
    shapes: list[torch.Size] = []
    handle = blocks[-1].norm1.register_forward_hook(
        lambda module, inputs, output: shapes.append(output.shape)
    )
    try:
        with torch.no_grad():
            network(torch.zeros(1, spec.channels, spec.size, spec.size))
    finally:
        handle.remove()
    return shapes[0][1] == network.num_prefix_tokens + grid[0] * grid[1]


def _plain_transformer(network: nn.Module, spec: InputSpec) -> FaceClassifier:
    rows, columns = network.patch_embed.grid_size
    if any(
        size % patch for size, patch in zip((spec.size,) * 2, network.patch_embed.patch_size, strict=True)
    ):
        raise UserError(
            f"patches of {network.patch_embed.patch_size[0]} pixels do not tile {spec.size}: give a multiple "
            "as --image-size"
        )
    tokens = TokenGrid(
        prefix=network.num_prefix_tokens,
        reads_class_token=getattr(network, "cls_token", None) is not None and network.global_pool == "token",
        rows=rows,
        columns=columns,
    )
    # at the last block's output the patches have no gradient under a class token: its input has
    last = len(network.blocks) - 1
    return FaceClassifier(
        network,
        "transformer",
        spec,
        f"blocks.{last}.norm1",
        tokens=tokens,
        attention_blocks=_attention_blocks(network),
    )


def _attention_blocks(network: nn.Module) -> tuple[str, ...]:
    """The self-attention of each block: a head may pool by attention too, but not from tokens to tokens."""
    return tuple(
        f"blocks.{name}" for name, module in network.blocks.named_modules() if hasattr(module, "fused_attn")
    )
