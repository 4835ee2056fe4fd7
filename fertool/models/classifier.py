"""The one form in which every model is trained, explained and scored: faces as stored in, logits out."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Family = Literal["cnn", "transformer"]

# ITU-R BT.601 luma, the weights with which OpenCV turns colour into grey
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class InputSpec:
    """What a network's weights expect to be fed."""

    size: int  # height and width, pixels
    channels: int  # 1 (grey) or 3 (RGB)
    mean: tuple[float, ...]  # a channel, of pixels scaled to 0..1
    std: tuple[float, ...]


@dataclass(frozen=True)
class TokenGrid:
    """How a transformer's tokens stand for the picture: first the prefix, then the patches row by row."""

    prefix: int  # class token and registers
    reads_class_token: bool  # the head reads the first of the prefix; otherwise it pools the patches
    rows: int
    columns: int


class FaceClassifier(nn.Module):
    """A network with the preprocessing that its weights expect, and the layer where it is explained.

    `forward` is two steps, so that augmentation, noise and gradients on the input have their place:
    `preprocess` takes pixels to network input, `logits` takes network input to logits.
    """

    def __init__(
        self,
        network: nn.Module,
        family: Family,
        input_spec: InputSpec,
        cam_layer: str,
        *,
        maps_channels_last: bool = False,
        tokens: TokenGrid | None = None,
        attention_blocks: tuple[str, ...] = (),
    ) -> None:
        """`cam_layer` names the submodule of `network` whose output a CAM reads, after its activation.

        That output is (B, K, h, w), or (B, h, w, K) where `maps_channels_last`, or (B, tokens, K) where
        `tokens` says how tokens stand for the picture. `attention_blocks` names the submodules that attend,
        first to last, in a transformer whose tokens keep their places throughout.
        """
        super().__init__()
        self.network = network
        self.family = family
        self.input_spec = input_spec
        self.cam_layer = cam_layer
        self.maps_channels_last = maps_channels_last
        self.tokens = tokens
        self.attention_blocks = attention_blocks
        self.recipe: dict[str, Any] = {}  # the arguments of build_model that make this model again
        self.register_buffer("mean", torch.tensor(input_spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(input_spec.std).view(1, -1, 1, 1), persistent=False)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Pixels 0..255, (B, H, W) or (B, H, W, 3), uint8 or float -> network input (B, C, size, size)."""
        pixels = pixels.to(self.mean.device)
        planes = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        planes = planes.to(self.mean.dtype) / 255
        if planes.shape[1] == 3 and self.input_spec.channels == 1:
            luma = torch.tensor(LUMA, dtype=planes.dtype, device=planes.device)
            planes = (planes * luma.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        size = self.input_spec.size
        if planes.shape[-2:] != (size, size):
            planes = F.interpolate(
                planes, size=(size, size), mode="bilinear", align_corners=False, antialias=True
            )
        if planes.shape[1] == 1 and self.input_spec.channels == 3:
            planes = planes.expand(-1, 3, -1, -1)
        inputs = (planes - self.mean) / self.std
        if self.family == "cnn":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def logits(self, inputs: Tensor) -> Tensor:
        """Network input (B, C, size, size) -> logits (B, classes), before any softmax."""
        return self.network(inputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels as stored -> logits (B, classes)."""
        return self.logits(self.preprocess(pixels))

    def feature_maps(self, activation: Tensor) -> Tensor:
        """The CAM layer's output as maps (B, K, h, w): without prefix tokens, channels first."""
        if self.tokens is not None:
            patches = activation[:, self.tokens.prefix :]
            return patches.transpose(1, 2).unflatten(2, (self.tokens.rows, self.tokens.columns))
        return activation.permute(0, 3, 1, 2) if self.maps_channels_last else activation

    def layer(self, name: str) -> nn.Module:
        """A submodule of the network by its dotted name. Raises AttributeError where there is none."""
        return self.network.get_submodule(name)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.mean.device
