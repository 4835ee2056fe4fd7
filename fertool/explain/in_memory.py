"""Heatmaps that no run stores, of changed faces or by changed weights: kept in memory."""

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
    """Raw heatmaps, float32 (N, h, w), of faces that are given.

    Args:
        model: the model.
        request: the explainer with its options; a null is made of these faces and of its explainer's maps of them.
        faces: uint8 (N, H, W) or (N, H, W, 3).
        compute: device and number format.
        codes: classes to explain (N,); None: the class that the model predicts for each face.
        boxes: boxes of the faces in pixels, (N, 4), for a model that asks for them.
    """
    maps = []
    for rows in batches(model, request, compute, len(faces)):
        wanted = None if codes is None else torch.from_numpy(codes[rows]).to(compute.device)

        def choose(logits: Tensor, wanted: Tensor | None = wanted) -> Tensor:
            return logits.argmax(dim=1, keepdim=True) if wanted is None else wanted[:, None]

        explanation = explain_rows(model, request, faces, boxes, rows, choose, compute)
        maps.append(explanation.heatmaps[:, 0].float().cpu().numpy())
    heatmaps = np.concatenate(maps)
    if request.null is None:
        return heatmaps
    return np.asarray(request.null.make(faces, np.arange(len(faces)), heatmaps), dtype=np.float32)
