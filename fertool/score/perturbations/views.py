"""The views of a face whose answers test-time augmentation averages."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fertool.errors import UserError

CROP = 7 / 8  # of the picture's side, as 224 of 256 pixels in Krizhevsky et al. 2012, section 4.1

View = tuple[Tensor, Tensor | None]
"""Pictures (B, h, w[, 3]) of any size, and the boxes (B, 4) of their faces for a model that needs them."""


def mirrored(pixels: Tensor, boxes: Tensor | None) -> View:
    """The pictures and boxes, left and right exchanged."""
    if boxes is not None:
        width = pixels.shape[2]
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    return pixels.flip(2), boxes


def _flip(pixels: Tensor, boxes: Tensor | None) -> Iterator[View]:
    yield pixels, boxes
    yield mirrored(pixels, boxes)


def _ten_crops(pixels: Tensor, boxes: Tensor | None) -> Iterator[View]:
    height, width = pixels.shape[1:3]
    down, across = round(CROP * height), round(CROP * width)
    corners = [(top, left) for top in (0, height - down) for left in (0, width - across)]
    for top, left in [*corners, ((height - down) // 2, (width - across) // 2)]:
        crop = pixels[:, top : top + down, left : left + across]
        moved = None if boxes is None else boxes - torch.tensor([left, top, left, top])
        yield from _flip(crop, moved)


VIEWS: dict[str, Callable[[Tensor, Tensor | None], Iterator[View]]] = {"flip": _flip, "tencrop": _ten_crops}


def check_tta(name: str | None) -> None:
    """Raise UserError where there is no test-time augmentation of that name; None is none."""
    if name is not None and name not in VIEWS:
        raise UserError(f"--tta {name}: there are {', '.join(VIEWS)}")
