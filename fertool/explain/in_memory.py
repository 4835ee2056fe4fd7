"""Heatmaps of faces, or by weights, that no run has stored: kept in memory."""

import numpy as np
import torch
from torch import Tensor

from fertool.explain.batches import batches, explain_rows
from fertool.explain.registry import Request
from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute


def unstored_heatmaps(
    model: FaceClassifier,
    request: Request,
    faces: np.ndarray,
    compute: Compute,
    codes: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> np.ndarray:
    """Raw heatmaps, float32 (N, h, w), of faces uint8 (N, H, W) or (N, H, W, 3).

    `codes` (N,) are the classes to explain; None explains what the model predicts for each of these faces. A
    null explanation is made of these faces and of the maps that its explainer gives them. `boxes` (N, 4) are
    where the faces lie, for a model that asks.
    """
    of_batches = []
    for rows in batches(model, request, len(faces)):
        wanted = None if codes is None else torch.from_numpy(codes[rows]).to(compute.device)

        def choose(logits: Tensor, wanted: Tensor | None = wanted) -> Tensor:
            return logits.argmax(dim=1, keepdim=True) if wanted is None else wanted[:, None]

        explanation = explain_rows(model, request, faces, boxes, rows, choose, compute)
        of_batches.append(explanation.heatmaps[:, 0].float().cpu().numpy())
    heatmaps = np.concatenate(of_batches)
    if request.null is None:
        return heatmaps
    return np.asarray(request.null.make(faces, np.arange(len(faces)), heatmaps), dtype=np.float32)
