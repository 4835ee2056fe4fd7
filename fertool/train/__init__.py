"""Training: a handwritten loop, augmentation on whole batches, checkpoints."""

from fertool.train.preview import preview
from fertool.train.seeds import read_seeds, train_seeds
from fertool.train.train import train

__all__ = ["preview", "read_seeds", "train", "train_seeds"]
