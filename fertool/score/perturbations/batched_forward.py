"""A run's network on pictures that no split holds: faces that are covered, pasted over or half removed."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fertool.models.structure.folded_norms import folding_norms
from fertool.models.structure.pool_first import pooling_first
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun

Network = Callable[[Tensor], Tensor]
"""Pictures 0..255, (M, H, W) or (M, H, W, 3), M of any size -> logits float32 (M, C)."""

GPU_BATCH_SIZE = 512


class NetworkOn(Protocol):
    """The run's network for pictures of some faces."""

    def __call__(self, rows: np.ndarray, boxes: Tensor | None = None) -> Network:
        """The network for the faces of these rows; `boxes` (n, 4), if given, are where pictures show them now."""
        ...


def network_in(evaluated: EvaluatedRun, compute: Compute) -> NetworkOn:
    """The run's network as a plain function on pictures of some faces: it takes their rows and gives the function.

    Pictures come in rounds: those of all the rows, in their order, once or several times over. They are
    computed in the number format of `compute`, in batches that suit the device; `network_of` in `number_format` chooses
    it.
    """
    at_once = compute.batch_size(GPU_BATCH_SIZE)
    model = evaluated.model
    pool_first, fold_norms = pooling_first(model), folding_norms(model)
    own_boxes = evaluated.boxes

    def network_on(rows: np.ndarray, boxes: Tensor | None = None) -> Network:
        if boxes is None and own_boxes is not None:
            boxes = torch.from_numpy(own_boxes[rows])

        def network(pictures: Tensor) -> Tensor:
            parts = pictures.split(at_once)
            rounds = None if boxes is None else boxes.repeat(len(pictures) // len(boxes), 1)
            box_parts = [None] * len(parts) if rounds is None else rounds.split(at_once)
            logits = []
            with torch.inference_mode(), compute.autocast(), pool_first(), fold_norms():
                for part, part_boxes in zip(parts, box_parts, strict=True):
                    with model.looking_at(part_boxes):
                        logits.append(model(part).float())
            return torch.cat(logits)

        return network

    return network_on
