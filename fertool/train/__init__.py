"""Training: a handwritten loop, augmentation on whole batches, checkpoints."""

from fertool.train.command import train
from fertool.train.preview import preview
from fertool.train.series import train_series

__all__ = ["preview", "train", "train_series"]
