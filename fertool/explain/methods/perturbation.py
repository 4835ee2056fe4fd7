"""Explanations from covering parts of the face: occlusion and RISE.

Both see the model from outside, so every family is explained alike, in logits that the class loses. Patches
are given in pixels of the face as stored, never of the network's input, so models of different input sizes
are asked the same question. Covered pixels take the face's own mean grey. Negative cells, where covering
helps the class, are dropped when scored.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.explain.explainer import ChooseClasses, ExplainBatch, Explainer, Explanation, Option
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval

RISE_SEED = 0


def occlusion(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, patch: int = 8, stride: int = 4
) -> Explanation:
    """Occlusion: the loss of the class's logit when a square patch is covered.

        H_ij = y_c(x) - y_c(x with the patch around cell ij covered)

    Zeiler and Fergus 2014, 'Visualizing and Understanding Convolutional Networks', section 4.2. Cells tile the
    face evenly and are `stride` pixels wide, or a little less where its sides are no multiple of that; around
    each one's centre `patch` x `patch` pixels are covered, cut at the border.

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain, int64 (B, K).
        patch: side of the covered square in pixels, 1 or more. Default: 8.
        stride: width of a cell in pixels, 1 or more. Default: 4.

    Returns:
        heatmaps float32 (B, K, ceil(H/stride), ceil(W/stride)) and logits.

    Raises:
        UserError: `patch` or `stride` is less than 1.
    """
    if patch < 1 or stride < 1:
        raise UserError(f"occlusion@patch={patch},stride={stride}: must be 1 or more pixels")
    faces = pixels.to(model.device).float()
    mean = _own_mean(faces)
    down, across = (_patches(side, stride, patch) for side in pixels.shape[1:3])
    with frozen_eval(model), torch.no_grad():
        logits = model(faces).float()
        classes = choose(logits)
        whole = logits.gather(1, classes)
        losses = []
        for rows in down:
            for columns in across:
                covered = faces.clone()
                covered[:, rows, columns] = mean
                losses.append(whole - model(covered).float().gather(1, classes))
    heatmaps = torch.stack(losses, dim=2).unflatten(2, (len(down), len(across)))
    return Explanation(heatmaps=heatmaps, logits=logits)


def _patches(side: int, stride: int, patch: int) -> list[slice]:
    """The pixels along a side that each cell's patch covers."""
    cells = -(-side // stride)
    starts = [math.floor((cell + 0.5) * side / cells - patch / 2 + 0.5) for cell in range(cells)]
    return [slice(max(start, 0), start + patch) for start in starts]


def rise(
    model: FaceClassifier,
    pixels: Tensor,
    choose: ChooseClasses,
    masks: int = 400,
    cells: int = 6,
    keep: float = 0.5,
) -> Explanation:
    """RISE: the covariance of the class's logit with seeing a pixel, over random smooth masks.

        H_p = cov_n(y_c(x * m_n), m_n(p)) / (keep (1 - keep))

    Petsiuk, Das and Saenko 2018, 'RISE: Randomized Input Sampling for Explanation of Black-box Models',
    section 3, centred: the paper's mean of y m holds the mean of y, an offset that differs between models and
    would blur every share. Masks are grids of 0 and 1, enlarged bilinearly and shifted at random, as there;
    every face meets the same masks, drawn from a fixed seed.

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain, int64 (B, K).
        masks: number of masks, 2 or more. Default: 400.
        cells: number of a mask's cells along each side of the face, 1 or more. Default: 6.
        keep: probability that a cell is 1, so that its pixels are seen, above 0 and below 1. Default: 0.5.

    Returns:
        heatmaps float32 (B, K, H, W) and logits.

    Raises:
        UserError: an option is out of its range.
    """
    if masks < 2 or cells < 1 or not 0 < keep < 1:
        raise UserError(f"rise@masks={masks},cells={cells},keep={keep}: 2 or more, 1 or more, within 0 to 1")
    faces = pixels.to(model.device).float()
    mean = _own_mean(faces)
    patterns = _smooth_masks(masks, cells, keep, pixels.shape[1:3]).to(model.device)
    with frozen_eval(model), torch.no_grad():
        logits = model(faces).float()
        classes = choose(logits)
        values = []
        for pattern in patterns:
            shown = pattern[..., None] if faces.ndim == 4 else pattern
            values.append(model(shown * faces + (1 - shown) * mean).float().gather(1, classes))
    worth = torch.stack(values, dim=2)
    worth = worth - worth.mean(dim=2, keepdim=True)
    with torch.autocast(model.device.type, enabled=False):
        heatmaps = torch.einsum("bkn,nhw->bkhw", worth, patterns - patterns.mean(dim=0))
    return Explanation(heatmaps=heatmaps / (masks * keep * (1 - keep)), logits=logits)


def _smooth_masks(masks: int, cells: int, keep: float, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(RISE_SEED)
    height, width = shape
    coarse = (torch.rand(masks, 1, cells + 1, cells + 1, generator=generator) < keep).float()
    cell_height, cell_width = -(-height // cells), -(-width // cells)
    size = ((cells + 1) * cell_height, (cells + 1) * cell_width)
    fine = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[:, 0]
    tops = torch.randint(0, cell_height, (masks,), generator=generator)
    lefts = torch.randint(0, cell_width, (masks,), generator=generator)
    return torch.stack(
        [
            mask[top : top + height, left : left + width]
            for mask, top, left in zip(fine, tops.tolist(), lefts.tolist(), strict=True)
        ]
    )


def _own_mean(faces: Tensor) -> Tensor:
    """The mean of each face over its pixels, broadcastable to (B, h, w[, 3])."""
    return faces.mean(dim=(1, 2), keepdim=True)


def _perturbation(
    name: str, source: str, explain: ExplainBatch, options: Mapping[str, Option], revision: int
) -> Explainer:
    return Explainer(
        name=name,
        source=source,
        needs="nothing",
        negatives="drop",
        class_token="pixels are read",
        looks_at_target=True,
        explain=explain,
        options=options,
        batch_size=256,
        revision=revision,
    )


PERTURBATION = [
    _perturbation("occlusion", "Zeiler and Fergus 2014", occlusion, {"patch": 8, "stride": 4}, revision=2),
    _perturbation("rise", "Petsiuk et al. 2018", rise, {"masks": 400, "cells": 6, "keep": 0.5}, revision=1),
]
