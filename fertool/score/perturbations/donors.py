"""Donors: other faces, laid over a face by their landmarks."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models.pixel_layout import channels_first, stored_layout


def draw_donors(rows: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Another row for each of `rows` (N,) of a split, int64 (N,), drawn by seed.

    `clusters` (N,) numbers the faces, those that are identical alike: clusters stand in a random circle, and
    a face's donor is the first face of the next one. Raises UserError where all faces are identical.
    """
    numbers, first, own = np.unique(clusters, return_index=True, return_inverse=True)
    if len(numbers) < 2:
        raise UserError(
            "pasting needs two different faces with landmarks; use other fills, or a larger split"
        )
    circle = np.random.default_rng(seed).permutation(len(numbers))
    following = np.empty_like(circle)
    following[circle] = np.roll(circle, -1)
    return rows[first[following[own]]]


def affine_fits(landmarks: np.ndarray, donor_landmarks: np.ndarray) -> np.ndarray:
    """The affine maps from faces to their donors that fit best in least squares: float64 (N, 2, 3).

    Both (N, 68, 2) in pixels. A point p of the face lies at A p + b in the donor, [A | b] the result. One map
    for the whole face, so that what is pasted is a face still, and an open mouth stays open.
    """
    here = np.concatenate([landmarks, np.ones_like(landmarks[..., :1])], axis=-1).astype(np.float64)
    there = donor_landmarks.astype(np.float64)
    normal = here.transpose(0, 2, 1) @ here
    return np.linalg.solve(normal, here.transpose(0, 2, 1) @ there).transpose(0, 2, 1)


def warp(pictures: Tensor, maps: np.ndarray) -> Tensor:
    """Pictures (B, H, W[, 3]) read at A p + b for each pixel p, bilinearly; `maps` (B, 2, 3) are [A | b].

    Beyond the border the picture is mirrored.
    """
    height, width = pictures.shape[1:3]
    device = pictures.device
    across, down = torch.meshgrid(
        torch.arange(width, device=device) + 0.5, torch.arange(height, device=device) + 0.5, indexing="xy"
    )
    points = torch.stack([across, down, torch.ones_like(across)], dim=-1)
    affine = torch.from_numpy(maps).to(device, torch.float32)
    places = torch.einsum("hwk,bck->bhwc", points, affine)
    # grid_sample's -1 and 1 are the picture's edges, its pixels' centres half a pixel within
    places = 2 * places / torch.tensor([width, height], device=device) - 1
    planes = channels_first(pictures)
    warped = F.grid_sample(planes.float(), places, padding_mode="reflection", align_corners=False)
    return stored_layout(warped)
