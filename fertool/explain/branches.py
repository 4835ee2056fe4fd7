"""One heatmap of a model of several branches: each branch's own, brought back to the whole picture and added."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.explain.explainer import Explanation
from fertool.models.backbones.multiscale import MultiscaleClassifier
from fertool.models.classifier import FaceClassifier, View


def join_views(model: FaceClassifier, maps: list[Tensor], logits: Tensor, pixels: Tensor) -> Explanation:
    """The explanation made from the maps of a model's views.

    A model that sees the whole picture once keeps its map as it is. A map of another view is brought to the picture's
    pixels, its cells' values unchanged, zero where the view does not look. The maps of several views are added without
    scaling, and each view's share of the mass, its negative cells dropped, is kept.

    Args:
        model: the model.
        maps: maps of each view, float32 (B, K, h, w) on the view's own grid.
        logits: logits (B, C).
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
    """
    logits = logits.detach().float()
    if len(model.views) == 1 and not model.needs_boxes and model.input_spec.sees_whole_picture:
        return Explanation(heatmaps=maps[0], logits=logits)
    on_picture = [
        onto_picture(model, view, view_maps, pixels)
        for view, view_maps in zip(model.views, maps, strict=True)
    ]
    if len(model.views) == 1 and not model.needs_boxes:
        return Explanation(heatmaps=on_picture[0], logits=logits)
    mass = torch.stack([heatmap.clamp(min=0).sum(dim=(2, 3)) for heatmap in on_picture], dim=2)
    # a map without any mass has no shares: 0 / 0 is nan
    shares = mass / mass.sum(dim=2, keepdim=True)
    return Explanation(heatmaps=torch.stack(on_picture).sum(dim=0), logits=logits, branch_shares=shares)


def onto_picture(model: FaceClassifier, view: View, maps: Tensor, pixels: Tensor) -> Tensor:
    """A view's maps (B, K, h, w) at the pixels (B, K, H, W) of the picture, bilinearly; zero outside its crop."""
    height, width = pixels.shape[1:3]
    if view.sees == "whole" and model.input_spec.sees_whole_picture:
        return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
    boxes = _boxes(model, view, pixels)
    across = _position_in_box(width, boxes[:, 0], boxes[:, 2])
    down = _position_in_box(height, boxes[:, 1], boxes[:, 3])
    inside = ((down >= 0) & (down <= 1))[:, None, :, None] & ((across >= 0) & (across <= 1))[:, None, None]
    grid = torch.stack(
        [across[:, None].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)], dim=3
    )
    fine = F.grid_sample(maps, 2 * grid - 1, padding_mode="border", align_corners=False)
    return fine * inside


def _boxes(model: FaceClassifier, view: View, pixels: Tensor) -> Tensor:
    """The part of each picture that a view sees, (B, 4): left, top, right, bottom, in pixels."""
    if view.sees == "face":
        return cast(MultiscaleClassifier, model).crop_boxes(pixels)  # no other model has such a view
    start, end = model.input_spec.window
    height, width = pixels.shape[1:3]
    box = torch.tensor([start * width, start * height, end * width, end * height], device=model.device)
    return box.expand(len(pixels), -1)


def _position_in_box(length: int, start: Tensor, end: Tensor) -> Tensor:
    """Centres of `length` pixels (B, length) as shares of the way from `start` (B,) to `end` (B,)."""
    centres = torch.arange(length, device=start.device) + 0.5
    return (centres - start[:, None]) / (end - start)[:, None]
