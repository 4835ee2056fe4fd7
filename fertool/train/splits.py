"""The faces of a split as training reads them: in their file, and on the device."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fertool.train.guidance import GuidePlanes
from fertool.train.mapped_faces import MappedFaces, face_reader


@dataclass(frozen=True)
class TrainingFaces:
    """A split with N faces.

    Attributes:
        faces: uint8 (N, H, W) or (N, H, W, 3).
        labels: int64 (N,).
        boxes: the faces' boxes, float32 (N, 4), for a model that needs them.
        targets: distributions over the classes, float32 (N, C), to be learnt in place of the labels.
        planes: where the maps of a guided training are to lie.
    """

    faces: MappedFaces
    labels: np.ndarray
    boxes: np.ndarray | None = None
    targets: np.ndarray | None = None
    planes: GuidePlanes | None = None


class DeviceFaces:
    """The train split on the device that trains.

    Attributes:
        read: rows int64 (B,) -> pixels uint8 (B, H, W[, 3]).
        labels: int64 (N,).
        targets: what is learnt: the labels, or distributions float32 (N, C).
        boxes: float32 (N, 4), or None.
        count, side: number of faces, and their side in pixels.
    """

    def __init__(self, split: TrainingFaces, device: torch.device) -> None:
        self.count, self.side = split.faces.shape[:2]
        self.read: Callable[[Tensor], Tensor] = face_reader(split.faces, device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.targets = self.labels if split.targets is None else torch.from_numpy(split.targets).to(device)
        self.boxes = None if split.boxes is None else torch.from_numpy(split.boxes).to(device)
