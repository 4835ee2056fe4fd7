"""The one form in which every model is trained, explained and scored: stored faces in, logits out."""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models.pixel_layout import channels_first

Family = Literal["cnn", "transformer"]
Interpolation = Literal["bilinear", "bilinear-plain", "bicubic", "nearest", "area"]

NEVER = -1e4  # the logit of a class that a network does not have
# ITU-R BT.601 luma, the weights with which OpenCV turns colour into grey
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class InputSpec:
    """The input that a network's weights expect."""

    size: int  # height and width, pixels
    channels: int  # 1 (grey) or 3 (RGB)
    mean: tuple[float, ...]  # one number a channel, of pixels scaled to 0..1
    std: tuple[float, ...]
    bgr: bool = False  # channels in the order blue, green, red, as OpenCV reads them
    interpolation: Interpolation = "bilinear"
    crop_scale: float = 1.0  # side of the square that the network sees, in shares of the picture's side

    @property
    def resized(self) -> int:
        """Side in pixels to which a picture is brought before the network's square is cut out of it, or padded to."""
        return max(1, round(self.size / self.crop_scale))

    @property
    def window(self) -> tuple[float, float]:
        """Where the square that the network sees begins and ends on each axis, in shares of the picture's side."""
        start = (self.resized - self.size) // 2
        return start / self.resized, (start + self.size) / self.resized

    @property
    def sees_whole_picture(self) -> bool:
        """Whether the network sees the picture from border to border, and nothing beyond."""
        return self.resized == self.size

    def zeros(self) -> Tensor:
        """One input of zeros, (1, channels, size, size), to try a network out."""
        return torch.zeros(1, self.channels, self.size, self.size)


@dataclass(frozen=True)
class TokenGrid:
    """The order of a transformer's tokens: first the prefix, then the patches row by row."""

    prefix: int  # class token, a distilled one, registers
    read: int  # the number of prefix tokens, from the first on, that the head reads; 0: it pools the patches
    rows: int
    columns: int
    pools: bool = False  # whether the head reads the mean over the patches beside those tokens, as DINOv2's


@dataclass(frozen=True)
class View:
    """The part of the image that a branch of a network sees, and where the branch is explained.

    Most networks have one view. `cam_layer` names the submodule whose output a CAM reads, after its activation:
    (B, K, h, w), or (B, h, w, K) where `maps_channels_last`, or (B, tokens, K) where `tokens` gives their order.
    `attention_blocks` names the submodules that attend, first to last, in a transformer whose tokens keep their
    places throughout. All names are of submodules of the whole network.
    """

    cam_layer: str
    sees: Literal["whole", "face"] = "whole"
    prefix: str = ""  # before the names of the branch's own submodules
    maps_channels_last: bool = False
    tokens: TokenGrid | None = None
    attention_blocks: tuple[str, ...] = ()

    def feature_maps(self, activation: Tensor) -> Tensor:
        """The CAM layer's output as feature maps (B, K, h, w): without prefix tokens, channels first."""
        if self.tokens is not None:
            patches = activation[:, self.tokens.prefix :]
            return patches.transpose(1, 2).unflatten(2, (self.tokens.rows, self.tokens.columns))
        return activation.permute(0, 3, 1, 2) if self.maps_channels_last else activation


class FaceClassifier(nn.Module):
    """A network with the preprocessing that its weights expect, and the layer where it is explained.

    `forward` is two steps, so that augmentation, noise and gradients on the input have their place:
    `preprocess` takes pixels to network input, `logits` takes network input to logits.
    """

    mean: Tensor  # (1, channels, 1, 1)
    std: Tensor

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
        """Wrap a network.

        Args:
            network: from inputs (B, channels, size, size) to logits (B, classes).
            family: the kind of architecture, which decides the explainers that apply.
            input_spec: the input that the network's weights expect.
            cam_layer: the submodule that a CAM reads, see `View`.
            head: the last submodule, new in every training; the empty name: the whole network.
            more_heads: heads whose logits are averaged with those of `head`, as in a distilled transformer.
            maps_channels_last: whether feature maps are (B, h, w, K), see `View`.
            tokens: the order of a transformer's tokens, see `View`.
            attention_blocks: the submodules that attend, see `View`.
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
        self.channels_last = family == "cnn"  # the memory format of the network's inputs
        self.outputs: tuple[int, ...] | None = None  # see `choose_outputs`
        self.found_cam_layer: str | None = (
            None  # where trying depended on the weights, and would find another later
        )
        self.recipe: dict[str, Any] = {}  # the arguments of build_model that make this model again
        self.register_buffer("mean", torch.tensor(input_spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(input_spec.std).view(1, -1, 1, 1), persistent=False)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Turn pixels 0..255, (B, H, W) or (B, H, W, 3), uint8 or float, into network input (B, C, size, size)."""
        pixels = pixels.to(self.mean.device)
        images = channels_first(pixels)
        images = images.to(self.mean.dtype) / 255
        if images.shape[1] == 3 and self.input_spec.channels == 1:
            luma = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
            images = (images * luma.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        size = self.input_spec.resized
        if images.shape[-2:] != (size, size):
            images = resize(images, size, self.input_spec.interpolation)
        if size != self.input_spec.size:
            images = centre_square(images, self.input_spec.size)
        if images.shape[1] == 1 and self.input_spec.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if self.input_spec.bgr:
            images = images.flip(1)
        inputs = (images - self.mean) / self.std
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def logits(self, inputs: Tensor) -> Tensor:
        """Turn network input (B, C, size, size) into logits (B, classes), before any softmax.

        Raises UserError where the network returns no tensor, as some do while they train.
        """
        logits = self.network(inputs)
        if not isinstance(logits, Tensor):
            raise UserError(
                f"{self.recipe.get('name', 'the network')}: returns {type(logits).__name__}, not logits (B, classes); "
                "let its function leave auxiliary outputs out"
            )
        return logits if self.outputs is None else choose_outputs(logits, self.outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn pixels as stored into logits (B, classes)."""
        return self.logits(self.preprocess(pixels))

    def empty_input(self) -> Tensor:
        """One network input of zeros, (1, C, size, size), to try the network out."""
        return self.input_spec.zeros().to(self.device)

    def random_inputs(self, count: int) -> Tensor:
        """Network inputs (count, C, size, size), normally distributed, the same each time, to try the network out."""
        generator = torch.Generator().manual_seed(0)
        shape = self.empty_input().shape[1:]
        inputs = torch.randn(count, *shape, generator=generator).to(self.device)
        if self.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    @contextlib.contextmanager
    def looking_at(self, boxes: Tensor | None) -> Generator[None]:
        """Inside the context, images show faces in these boxes (B, 4): left, top, right, bottom, in pixels.

        Only a model with a view of the face needs them. A batch may hold the same faces several times over, as
        rounds of all B.
        """
        before, self.boxes = self.boxes, boxes
        try:
            yield
        finally:
            self.boxes = before

    @contextlib.contextmanager
    def all_outputs(self) -> Generator[None]:
        """Inside the context, logits are all of the network's outputs, in its own order."""
        outputs, self.outputs = self.outputs, None
        try:
            yield
        finally:
            self.outputs = outputs

    @property
    def needs_boxes(self) -> bool:
        """Whether a view is of the face, so that images need the context `looking_at`."""
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
        """The order of a transformer's tokens; None for other networks."""
        return self.views[0].tokens

    @property
    def attention_blocks(self) -> tuple[str, ...]:
        """The submodules that attend, of all views."""
        return tuple(block for view in self.views for block in view.attention_blocks)

    def feature_maps(self, activation: Tensor) -> Tensor:
        """The output of the first view's CAM layer as feature maps (B, K, h, w)."""
        return self.views[0].feature_maps(activation)

    def layer(self, name: str) -> nn.Module:
        """A submodule of the network by its dotted name. Raises AttributeError where there is none."""
        return self.network.get_submodule(name)

    @property
    def device(self) -> torch.device:
        """The device on which the model computes."""
        return self.mean.device


def centre_square(images: Tensor, size: int) -> Tensor:
    """The centre (B, C, size, size) of square images (B, C, S, S), their borders repeated where they are smaller."""
    before = -((images.shape[-1] - size) // 2)
    after = size - images.shape[-1] - before
    return F.pad(images, (before, after, before, after), mode="replicate")


def choose_outputs(logits: Tensor, outputs: tuple[int, ...]) -> Tensor:
    """The logits of classes, (B, len(outputs)), from those of a network in an order of its own.

    `outputs` has the number of the network's output for each class, and -1 for a class that the network does not have:
    its logit is so low that it is never predicted. Outputs that no class has are left out of the softmax.
    """
    chosen = logits[:, [max(output, 0) for output in outputs]]
    missing = torch.tensor([output < 0 for output in outputs], device=logits.device)
    return chosen.masked_fill(missing, NEVER)


def resize(images: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """Images (B, C, H, W), pixels 0 to 1, at (B, C, size, size).

    `bilinear` and `bicubic` average when they shrink (antialias). Where bicubic would overshoot, pixels stay 0 or 1, as
    they do in pictures of bytes.
    """
    mode, antialias = interpolation.removesuffix("-plain"), interpolation in ("bilinear", "bicubic")
    smooth = mode in ("bilinear", "bicubic")
    resized = F.interpolate(
        images, size=(size, size), mode=mode, align_corners=False if smooth else None, antialias=antialias
    )
    return resized.clamp(0, 1) if mode == "bicubic" else resized
