"""Masks: detectors -> 68 landmarks -> the region map of each face."""

from fertool.masks.command import make_masks

__all__ = ["make_masks"]
