"""Masks: detectors -> 68 landmarks -> the region map of each face."""

from fertool.masks.make_masks import make_masks

__all__ = ["make_masks"]
