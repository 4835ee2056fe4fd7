"""Training: a handwritten loop, augmentation on whole batches, checkpoints."""

from fertool.train.preview import preview
from fertool.train.series import train_series
from fertool.train.train import train

__all__ = ["preview", "train", "train_series"]
