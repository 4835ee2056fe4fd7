"""Logits of many faces."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.runtime.hardware import Compute

GPU_BATCH_SIZE = 256


class Faces(Protocol):
    """Faces uint8 (N, H, W[, 3]): an array, or an object that reads them from a file on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | np.ndarray, /) -> np.ndarray: ...


def face_batches(
    faces: Faces, boxes: np.ndarray | None, batch_size: int, rows: np.ndarray | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Yield batches of at most `batch_size` faces, uint8 (N, H, W[, 3]), in order, with their boxes (N, 4) if given.

    `rows` (n,) names the faces; None: all.
    """
    for start in range(0, len(faces) if rows is None else len(rows), batch_size):
        window = slice(start, start + batch_size)
        some = window if rows is None else rows[window]
        # copies: the arrays may be read-only memory maps, about which torch would warn
        pixels = torch.from_numpy(np.array(faces[some]))
        yield pixels, None if boxes is None else torch.from_numpy(np.array(boxes[some]))


def predict_logits(
    model: FaceClassifier, faces: Faces, compute: Compute, boxes: np.ndarray | None = None
) -> np.ndarray:
    """Logits float32 (N, classes) of faces uint8 (N, H, W) or (N, H, W, 3), in evaluation mode.

    `boxes` (N, 4) are those of the faces, for a model that needs them.
    """
    logits, start = np.empty((len(faces), 0), np.float32), 0
    with frozen_eval(model), torch.inference_mode(), compute.autocast():
        for pixels, batch_boxes in face_batches(faces, boxes, compute.batch_size(GPU_BATCH_SIZE)):
            with model.looking_at(batch_boxes):
                batch = model(pixels.to(compute.device)).float().cpu().numpy()
            if start == 0:
                # one block from the start: small ones kept between large ones that are freed leave holes behind
                logits = np.empty((len(faces), batch.shape[1]), np.float32)
            logits[start : start + len(batch)] = batch
            start += len(batch)
    return logits
