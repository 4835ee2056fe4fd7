"""Boxes of faces in pictures that are moved: in training's augmentation, and where pictures are spoilt."""

import torch
from torch import Tensor


def moved_boxes(boxes: Tensor, matrix: Tensor, offset: Tensor, shape: tuple[int, int]) -> Tensor:
    """The boxes (B, 4) of left, top, right, bottom in pixels, in pictures that are moved.

    A turned box becomes the upright one around it.

    Args:
        boxes: those in the pictures as they were.
        matrix: where the points of a moved picture come from, in half sides from the middle: x -> matrix x + offset,
            (B, 2, 2).
        offset: of the same, (B, 2).
        shape: height and width of the pictures.
    """
    height, width = shape
    sides = torch.tensor([width, height], dtype=boxes.dtype, device=boxes.device)
    corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].view(-1, 4, 2) * (2 / sides) - 1
    moved = torch.linalg.solve(matrix, (corners - offset[:, None]).transpose(1, 2))
    points = (moved.transpose(1, 2) + 1) * (sides / 2)
    return torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
