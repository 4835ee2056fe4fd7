"""The one form in which every model is trained, explained and scored: faces as stored in, logits out."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models.pixel_layout import channels_first

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

    def zeros(self) -> Tensor:
        """One input of zeros, (1, channels, size, size), to try a network out."""
        return torch.zeros(1, self.channels, self.size, self.size)


@dataclass(frozen=True)
class TokenGrid:
    """How a transformer's tokens stand for the picture: first the prefix, then the patches row by row."""

    prefix: int  # class token, a distilled one, registers
    read: int  # how many of the prefix, from the first on, the head reads; 0: it pools the patches
    rows: int
    columns: int


@dataclass(frozen=True)
class View:
    """What a branch of a network sees of the picture, and where it is explained. Most networks have but one.

    `cam_layer` names the submodule whose output a CAM reads, after its activation: (B, K, h, w), or
    (B, h, w, K) where `maps_channels_last`, or (B, tokens, K) where `tokens` says how tokens stand for the
    picture. `attention_blocks` names the submodules that attend, first to last, in a transformer whose tokens
    keep their places throughout. Names are of submodules of the whole network.
    """

    cam_layer: str
    sees: Literal["whole", "face"] = "whole"
    prefix: str = ""  # of the names of the branch's own submodules
    maps_channels_last: bool = False
    tokens: TokenGrid | None = None
    attention_blocks: tuple[str, ...] = ()

    def feature_maps(self, activation: Tensor) -> Tensor:
        """The CAM layer's output as maps (B, K, h, w): without prefix tokens, channels first."""
        if self.tokens is not None:
            patches = activation[:, self.tokens.prefix :]
            return patches.transpose(1, 2).unflatten(2, (self.tokens.rows, self.tokens.columns))
        return activation.permute(0, 3, 1, 2) if self.maps_channels_last else activation


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
        head: str = "",
        more_heads: tuple[str, ...] = (),
        maps_channels_last: bool = False,
        tokens: TokenGrid | None = None,
        attention_blocks: tuple[str, ...] = (),
    ) -> None:
        """`head` names the last submodule of `network`, new in every training (the empty name: all of it).

        Others, whose logits go into the mean with its own as in a distilled transformer, are `more_heads`.
        The others say where the network is explained, see `View`.
        """
        super().__init__()
        self.network = network
        self.family = family
        self.input_spec = input_spec
        self.head = head
        self.more_heads = more_heads
        self.views: tuple[View, ...] = (
            View(
                cam_layer,
                maps_channels_last=maps_channels_last,
                tokens=tokens,
                attention_blocks=attention_blocks,
            ),
        )
        self.boxes: Tensor | None = None  # see `looking_at`
        self.recipe: dict[str, Any] = {}  # the arguments of build_model that make this model again
        self.register_buffer("mean", torch.tensor(input_spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(input_spec.std).view(1, -1, 1, 1), persistent=False)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Pixels 0..255, (B, H, W) or (B, H, W, 3), uint8 or float -> network input (B, C, size, size)."""
        pixels = pixels.to(self.mean.device)
        planes = channels_first(pixels)
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
        """Network input (B, C, size, size) -> logits (B, classes), before any softmax.

        Raises UserError where the network gives no tensor, as some do while they train.
        """
        logits = self.network(inputs)
        if not isinstance(logits, Tensor):
            raise UserError(
                f"{self.recipe.get('name', 'the network')}: gives {type(logits).__name__}, not logits (B, classes); "
                "have its function leave auxiliary outputs out"
            )
        return logits

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels as stored -> logits (B, classes)."""
        return self.logits(self.preprocess(pixels))

    def empty_input(self) -> Tensor:
        """One network input of zeros, to try the network out."""
        return self.input_spec.zeros().to(self.device)

    @contextlib.contextmanager
    def looking_at(self, boxes: Tensor | None) -> Iterator[None]:
        """Inside, pictures show faces in these boxes (B, 4): left, top, right, bottom, in pixels.

        Only a model with a view of the face asks for them. A batch may hold the same faces several times
        over, as rounds of all B.
        """
        before, self.boxes = self.boxes, boxes
        try:
            yield
        finally:
            self.boxes = before

    @property
    def needs_boxes(self) -> bool:
        """Whether a view is of the face, so that pictures come `looking_at` boxes."""
        return any(view.sees == "face" for view in self.views)

    def branches(self) -> list[tuple[str, nn.Module]]:
        """The network of each view, with the prefix of its names: the whole network where there is one."""
        return [(view.prefix, self.network.get_submodule(view.prefix.rstrip("."))) for view in self.views]

    @property
    def cam_layer(self) -> str:
        """The CAM layer of the first view."""
        return self.views[0].cam_layer

    @property
    def maps_channels_last(self) -> bool:
        """Whether feature maps are (B, h, w, K)."""
        return self.views[0].maps_channels_last

    @property
    def tokens(self) -> TokenGrid | None:
        """How a transformer's tokens stand for the picture."""
        return self.views[0].tokens

    @property
    def attention_blocks(self) -> tuple[str, ...]:
        """The submodules that attend, of all views."""
        return tuple(block for view in self.views for block in view.attention_blocks)

    def feature_maps(self, activation: Tensor) -> Tensor:
        """The first view's CAM layer's output as maps (B, K, h, w)."""
        return self.views[0].feature_maps(activation)

    def layer(self, name: str) -> nn.Module:
        """A submodule of the network by its dotted name. Raises AttributeError where there is none."""
        return self.network.get_submodule(name)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.mean.device
