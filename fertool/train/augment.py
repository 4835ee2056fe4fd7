"""Augmentation of whole batches, on the model's device, at the faces' own resolution."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class EpochDraws:
    """The random choices of one epoch, for every face of the split.

    They are keyed by (seed, epoch, row): what a face meets depends neither on its batch nor on how many
    processes share the work.
    """

    order: Tensor  # int64 (N,), the rows in the order in which they are visited
    flips: Tensor  # bool (N,)
    shifts: Tensor  # int64 (N, 2), pixels down and to the right


def draw_epoch(faces: int, side: int, seed: int, epoch: int, *, flip: bool, shift: float) -> EpochDraws:
    """Draw an epoch's choices for `faces` faces of `side` pixels; `shift` is a share of the side."""
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    reach = round(shift * side)
    return EpochDraws(
        order=torch.randperm(faces, generator=generator),
        flips=(torch.rand(faces, generator=generator) < 0.5) & flip,
        shifts=torch.randint(-reach, reach + 1, (faces, 2), generator=generator),
    )


def epoch_seed(seed: int, epoch: int) -> int:
    """A 63-bit seed that differs between epochs and runs."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def augment(pixels: Tensor, flips: Tensor, shifts: Tensor) -> Tensor:
    """Flip and shift each face of a batch (B, H, W[, 3]) of any dtype; edges are repeated outwards.

    One gather: each output pixel is looked up where it comes from.
    """
    height, width = pixels.shape[1:3]
    rows = torch.arange(height, device=pixels.device) - shifts[:, :1]
    columns = torch.arange(width, device=pixels.device) - shifts[:, 1:]
    columns = torch.where(flips[:, None], width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    faces = torch.arange(len(pixels), device=pixels.device)
    return pixels[faces[:, None, None], rows[:, :, None], columns[:, None, :]]
