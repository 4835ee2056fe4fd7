"""Training: a handwritten loop, augmentation on whole batches, checkpoints."""

from fertool.train.guide_weights import read_guide_weights, train_guide_weights
from fertool.train.preview import preview
from fertool.train.seeds import read_seeds, train_seeds
from fertool.train.train import train

__all__ = [
    "preview",
    "read_guide_weights",
    "read_seeds",
    "train",
    "train_guide_weights",
    "train_seeds",
]
