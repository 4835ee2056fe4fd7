"""Training: a handwritten loop, augmentation on whole batches, checkpoints."""

from fertool.train.adopt_network import adopt
from fertool.train.command import train
from fertool.train.preview import preview
from fertool.train.series import train_series
from fertool.train.try_preprocessing import try_preprocessings

__all__ = ["adopt", "preview", "train", "train_series", "try_preprocessings"]
