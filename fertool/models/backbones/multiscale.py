"""Models that see a face twice: the whole image, and the crop of the face, each through a branch of its own."""

from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, View
from fertool.models.pixel_layout import channels_first, stored_layout

PREFIX = "multiscale:"
DEFAULT_VIEWS = ("whole", "face")
BRANCHES = "branches"  # the submodule of `Branches` that holds them, by number
MARGIN = 0.1  # on each side of the crop, in shares of the landmarks' box


def layer_in_words(cam_layer: str) -> str:
    """A run's CAM layer as tables show it: a run records the first branch's, though maps are read in each."""
    first = f"{BRANCHES}.0."
    return f"{cam_layer.removeprefix(first)} of each branch" if cam_layer.startswith(first) else cam_layer


class Branches(nn.Module):
    """Branches side by side, whose concatenated features go to one classifier."""

    def __init__(self, branches: list[nn.Module], classifier: nn.Linear) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.classifier = classifier

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn inputs (B, branches, C, S, S) into logits (B, classes)."""
        features = [branch(inputs[:, number]) for number, branch in enumerate(self.branches)]
        return self.classifier(torch.cat(features, dim=1))


class MultiscaleClassifier(FaceClassifier):
    """A FaceClassifier of several views of the image, with inputs (B, views, C, size, size)."""

    def __init__(self, single: list[FaceClassifier], views: tuple[Literal["whole", "face"], ...]) -> None:
        """Put models of one view each, all of the same kind, side by side; their heads are taken off."""
        first = single[0]
        widths: list[int] = []
        classes = 0
        for model in single:
            if model.more_heads:
                raise UserError(
                    "multiscale: this model has two heads; take the plain one, as deit_tiny_patch16_224"
                )
            head = model.layer(model.head)
            if not isinstance(head, nn.Linear):
                raise UserError(
                    f"multiscale: this model ends in a {type(head).__name__}, not in a linear layer whose "
                    "features could be put beside another branch's"
                )
            widths.append(head.in_features)
            classes = head.out_features
            model.network.set_submodule(model.head, nn.Identity())
        classifier = nn.Linear(sum(widths), classes)
        network = Branches([model.network for model in single], classifier)
        super().__init__(network, first.family, first.input_spec, "", head="classifier")
        self.channels_last = first.channels_last
        self.views = tuple(
            _branch_view(model.views[0], f"{BRANCHES}.{number}.", sees)
            for number, (model, sees) in enumerate(zip(single, views, strict=True))
        )

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Turn pixels as stored, with the faces' boxes (`looking_at`), into (B, views, C, size, size)."""
        inputs = []
        for view in self.views:
            inputs.append(super().preprocess(pixels if view.sees == "whole" else self._crops(pixels)))
        return torch.stack(inputs, dim=1)

    def empty_input(self) -> Tensor:
        """One network input of zeros, (1, views, C, size, size)."""
        return super().empty_input()[:, None].expand(-1, len(self.views), -1, -1, -1)

    def _crops(self, pixels: Tensor) -> Tensor:
        from torchvision.ops import roi_align

        pixels = pixels.to(self.device)
        images = channels_first(pixels)
        boxes = self.crop_boxes(pixels)
        size = self.input_spec.size
        # sampling_ratio -1: an output pixel is the mean of one bilinear sample for each pixel of the crop in it
        crops = roi_align(images.float(), list(boxes.split(1)), size, sampling_ratio=-1, aligned=True)
        return stored_layout(crops)

    def crop_boxes(self, pixels: Tensor) -> Tensor:
        """The squares that the view of the face sees, float32 (B, 4): the faces' boxes with their margin.

        Squares that reach out of the image are moved into it, and made smaller where they do not fit.
        """
        if self.boxes is None:
            raise ValueError("a view of the face needs boxes: looking_at(boxes)")
        rounds = len(pixels) // len(self.boxes)
        boxes = self.boxes.to(self.device, torch.float32).repeat(rounds, 1)
        height, width = pixels.shape[1:3]
        low, high = boxes[:, :2], boxes[:, 2:]
        side = (1 + 2 * MARGIN) * (high - low).amax(dim=1, keepdim=True).clamp(1, min(height, width))
        side = side.clamp(max=min(height, width))
        picture = torch.tensor([width, height], dtype=torch.float32, device=self.device)
        corner = torch.minimum(((low + high - side) / 2).clamp(min=0), picture - side)
        return torch.cat([corner, corner + side], dim=1)


def _branch_view(view: View, prefix: str, sees: Literal["whole", "face"]) -> View:
    return replace(
        view,
        sees=sees,
        prefix=prefix,
        cam_layer=f"{prefix}{view.cam_layer}",
        attention_blocks=tuple(f"{prefix}{block}" for block in view.attention_blocks),
    )


def read_views(text: str | None) -> tuple[Literal["whole", "face"], ...]:
    """The views that `--views` names, as `whole,face`. Raises UserError for any other text."""
    views = tuple(text.split(",")) if text else DEFAULT_VIEWS
    if not 1 <= len(views) <= 2 or any(view not in ("whole", "face") for view in views):
        raise UserError(f"--views {text}: give one or two of whole and face, as face,whole")
    return cast(tuple[Literal["whole", "face"], ...], views)
