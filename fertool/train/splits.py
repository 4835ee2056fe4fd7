"""The faces of a split as training reads them: from the workspace, and on the device."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.models import FaceClassifier
from fertool.prepare.ferplus import crowd_shares
from fertool.train.config import TrainConfig
from fertool.train.guidance import GuideMasks, load_guide_masks
from fertool.train.mapped_faces import MappedFaces, face_reader
from fertool.train.subset import rows_used
from fertool.workspace import Workspace


@dataclass(frozen=True)
class TrainingFaces:
    """A split with N faces.

    Attributes:
        faces: uint8 (N, H, W) or (N, H, W, 3).
        labels: int64 (N,).
        boxes: the faces' boxes, float32 (N, 4), for a model that needs them.
        targets: distributions over the classes, float32 (N, C), to be learnt in place of the labels.
        masks: where the maps of a guided training are to lie.
    """

    faces: MappedFaces
    labels: np.ndarray
    boxes: np.ndarray | None = None
    targets: np.ndarray | None = None
    masks: GuideMasks | None = None


def load_train_split(workspace: Workspace, config: TrainConfig, model: FaceClassifier) -> TrainingFaces:
    """The faces to learn from: those of train that the settings use. Raises UserError where something is missing."""
    whole = _load_split(workspace, "train", model)
    if config.labels == "ferplus-soft":
        whole = replace(whole, targets=_crowd_targets(workspace, whole.labels))
    rows = rows_used(workspace, whole.labels, config)
    masks = None
    if config.guide is not None:
        placebo_seed = config.seed if config.guide_masks == "shuffled" else None
        masks = load_guide_masks(workspace, "train", config.guide, rows=rows, placebo_seed=placebo_seed)
    return TrainingFaces(
        whole.faces.part(rows),
        whole.labels[rows],
        None if whole.boxes is None else whole.boxes[rows],
        None if whole.targets is None else whole.targets[rows],
        masks,
    )


def load_val_split(
    workspace: Workspace, config: TrainConfig, model: FaceClassifier, processes: int
) -> TrainingFaces:
    """The faces on which epochs are compared. Raises UserError where they are fewer than `processes`."""
    split = _load_split(workspace, "val", model)
    if len(split.labels) < processes:
        raise UserError(
            f"{workspace.faces('val')}: {len(split.labels)} faces for {processes} processes; start fewer processes"
        )
    if config.guide is None:
        return split
    return replace(split, masks=load_guide_masks(workspace, "val", "background"))


def _load_split(workspace: Workspace, split: str, model: FaceClassifier) -> TrainingFaces:
    boxes = workspace.load_boxes(split) if model.needs_boxes else None
    return TrainingFaces(MappedFaces(workspace.load_faces(split)), workspace.load_labels(split), boxes)


def _crowd_targets(workspace: Workspace, labels: np.ndarray) -> np.ndarray:
    """The crowd's distribution for each face of train, or its own label where nobody voted for any of the classes."""
    votes = workspace.load_votes("train")
    if votes is None:
        raise UserError(
            f"{workspace.root}: --train-labels ferplus-soft: these faces carry no votes; run 'fertool prepare' again "
            "with --ferplus fer2013new.csv"
        )
    classes = workspace.dataset()["classes"]
    shares = crowd_shares(votes, classes)
    own = np.eye(len(classes), dtype=np.float32)[labels]
    return np.where(np.isnan(shares), own, shares)


class DeviceFaces:
    """The train split on the device that trains.

    Attributes:
        count: number of faces N.
        side: their side in pixels.
        read: rows int64 (B,) -> pixels uint8 (B, H, W[, 3]).
        labels: int64 (N,).
        targets: what is learnt: the labels, or distributions float32 (N, C).
        boxes: float32 (N, 4), for a model that needs them.
    """

    def __init__(self, split: TrainingFaces, device: torch.device) -> None:
        self.count, self.side = split.faces.shape[:2]
        self.read: Callable[[Tensor], Tensor] = face_reader(split.faces, device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.targets = self.labels if split.targets is None else torch.from_numpy(split.targets).to(device)
        self.boxes = None if split.boxes is None else torch.from_numpy(split.boxes).to(device)
