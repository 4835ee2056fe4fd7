"""The things that stay the same through all epochs of a training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute
from fertool.runtime.ranks import Ranks
from fertool.train.batches import batch_slices
from fertool.train.config import TrainConfig
from fertool.train.guidance import Guide
from fertool.train.losses import balancing_weights
from fertool.train.splits import DeviceFaces, TrainingFaces


@dataclass(frozen=True)
class TrainingSetup:
    """The settings, and the faces on the device that trains.

    Attributes:
        batches: each step's slice of an epoch's order.
        class_weights: float32 (C,), where classes are balanced.
        guide: attention guidance, where it is asked for.
    """

    config: TrainConfig
    compute: Compute
    ranks: Ranks
    train_split: TrainingFaces
    val_split: TrainingFaces
    faces: DeviceFaces
    batches: list[slice]
    class_weights: Tensor | None
    guide: Guide | None

    @property
    def device(self) -> torch.device:
        """Where the training takes place."""
        return self.compute.device


def set_up(
    model: FaceClassifier,
    config: TrainConfig,
    train_split: TrainingFaces,
    val_split: TrainingFaces,
    compute: Compute,
    ranks: Ranks,
) -> TrainingSetup:
    """Bring the train split to the device, and make what the settings ask for.

    Args:
        model: the network to train.
        config: the settings.
        train_split: the faces to learn from.
        val_split: the faces on which epochs are compared.
        compute: device and number format.
        ranks: the processes that share each batch.

    Returns:
        What stays the same from epoch to epoch.

    Raises:
        UserError: `--guide` without region maps, or with batches of one face.
    """
    faces = DeviceFaces(train_split, compute.device)
    class_weights = balancing_weights(faces.targets, model.recipe["classes"]) if config.balance else None
    return TrainingSetup(
        config,
        compute,
        ranks,
        train_split,
        val_split,
        faces,
        batch_slices(faces.count, config.batch_size),
        class_weights,
        _guide(model, config, train_split, faces.labels),
    )


def _guide(
    model: FaceClassifier, config: TrainConfig, train_split: TrainingFaces, labels: Tensor
) -> Guide | None:
    if config.guide is None:
        return None
    if train_split.masks is None:
        raise UserError("--guide: the faces of train come without region maps; run 'fertool masks' first")
    if min(config.batch_size, len(labels)) == 1:
        # torch computes some gradients of a batch of one wrongly, and a map is made of one
        raise UserError("--guide: needs batches of two faces or more; take a larger --batch-size")
    return Guide(
        model,
        train_split.masks,
        labels,
        config.augmentation,
        form=config.guide,
        kind=config.guide_map,
        explainer=config.guide_explainer,
        weight=config.guide_weight,
        warmup_epochs=config.guide_warmup,
        wanted_shares=None if config.guide_regions is None else dict(config.guide_regions),
    )
