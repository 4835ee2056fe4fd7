"""One heatmap of a model of several branches: each one's own, brought back to the whole picture and added."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.explain.explainer import Explanation
from fertool.models.classifier import FaceClassifier, View


def explanation_of(model: FaceClassifier, maps: list[Tensor], logits: Tensor, pixels: Tensor) -> Explanation:
    """The explanation made of each view's maps, float32 (B, K, h, w) on the view's own grid.

    A model that sees the whole picture once keeps its map as it is. Else each map is brought to the picture's
    pixels, its cells' values unchanged, zero where the view does not look, and they are added without scaling
    either; each view's share of the mass, its negative cells dropped, is kept.
    """
    logits = logits.detach().float()
    if len(model.views) == 1 and not model.needs_boxes:
        return Explanation(heatmaps=maps[0], logits=logits)
    on_picture = [
        onto_picture(model, view, of_view, pixels) for view, of_view in zip(model.views, maps, strict=True)
    ]
    mass = torch.stack([heatmap.clamp(min=0).sum(dim=(2, 3)) for heatmap in on_picture], dim=2)
    # a map without any mass has no shares
    shares = mass / mass.sum(dim=2, keepdim=True)
    return Explanation(heatmaps=torch.stack(on_picture).sum(dim=0), logits=logits, branch_shares=shares)


def onto_picture(model: FaceClassifier, view: View, maps: Tensor, pixels: Tensor) -> Tensor:
    """A view's maps (B, K, h, w) at the pixels (B, K, H, W) of the picture, bilinearly; zero outside its crop."""
    height, width = pixels.shape[1:3]
    if view.sees == "whole":
        return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
    boxes = model.crop_boxes(pixels)  # left, top, right, bottom
    across, down = (
        (torch.arange(length, device=maps.device) + 0.5 - boxes[:, start, None])
        / (boxes[:, start + 2, None] - boxes[:, start, None])
        for length, start in ((width, 0), (height, 1))
    )
    inside = ((down >= 0) & (down <= 1))[:, None, :, None] & ((across >= 0) & (across <= 1))[:, None, None]
    grid = torch.stack(
        [across[:, None].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)], dim=3
    )
    fine = F.grid_sample(maps, 2 * grid - 1, padding_mode="border", align_corners=False)
    return fine * inside
