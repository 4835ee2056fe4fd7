"""Faces as the leaves of a graph: what the pixel explainers share."""

import torch
from torch import Tensor


def as_leaf(pixels: Tensor, device: torch.device) -> Tensor:
    """A copy of the faces as float32 on the device, asking for gradients."""
    return pixels.detach().to(device=device, dtype=torch.float32, copy=True).requires_grad_()


def add_colours(values: Tensor) -> Tensor:
    """Values of pixels (B, H, W) or (B, H, W, 3) -> float32 (B, H, W), added up over colours.

    That is what a change of all three colours by the same amount does, and for a grey face what it has.
    """
    return (values.sum(dim=-1) if values.ndim == 4 else values).float()
