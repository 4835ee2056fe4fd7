"""Masks: detectors -> 68 landmarks -> the region map of each face."""

from fertool.masks.command import make_masks
from fertool.masks.settings import MaskSettings

__all__ = ["MaskSettings", "make_masks"]
