"""Logits of many faces."""

from collections.abc import Iterator

import numpy as np
import torch

from fertool.hardware import Compute
from fertool.models.classifier import FaceClassifier

BATCH_SIZE = 256


def face_batches(faces: np.ndarray, batch_size: int = BATCH_SIZE) -> Iterator[torch.Tensor]:
    """The faces, uint8 (N, H, W[, 3]), in order, as tensors of at most `batch_size` of them."""
    for start in range(0, len(faces), batch_size):
        # a copy: the array may be a read-only memory map, which torch would warn about
        yield torch.from_numpy(np.array(faces[start : start + batch_size]))


@torch.inference_mode()
def predict_logits(model: FaceClassifier, faces: np.ndarray, compute: Compute) -> np.ndarray:
    """Logits float32 (N, classes) of faces uint8 (N, H, W) or (N, H, W, 3), in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        batches = []
        for pixels in face_batches(faces):
            with compute.autocast():
                batches.append(model(pixels.to(compute.device)).float().cpu())
    finally:
        model.train(was_training)
    return torch.cat(batches).numpy()
