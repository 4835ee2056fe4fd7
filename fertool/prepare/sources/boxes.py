"""A face's box in a picture, and the square that is cut out around it."""

from dataclasses import dataclass

import cv2
import numpy as np

from fertool.errors import UserError

LEAST_INSIDE = 0.5
"""The share of a box's area that must lie in its picture: boxes of detectors reach over edges, and wrong ones miss."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels of a picture as it is shown (turned as its EXIF says), its origin the top left corner."""

    left: float
    top: float
    right: float
    bottom: float


def cut_box(picture: np.ndarray, box: Box, margin: float, where: str) -> np.ndarray:
    """The square around a box, its longer side grown by `margin` of it on either side.

    Beyond the picture its edge is repeated, so that the face keeps its place.

    Args:
        picture: uint8 (H, W) or (H, W, 3).
        box: the face's box.
        margin: share of the box's longer side, 0 or more.
        where: how messages name the box.

    Returns:
        uint8 (S, S) or (S, S, 3).

    Raises:
        UserError: where less than LEAST_INSIDE of the box lies in the picture.
    """
    height, width = picture.shape[:2]
    across = min(box.right, width) - max(box.left, 0)
    down = min(box.bottom, height) - max(box.top, 0)
    area = (box.right - box.left) * (box.bottom - box.top)
    if min(across, down) <= 0 or across * down < LEAST_INSIDE * area:
        raise UserError(
            f"{where}: its box ({box.left:g}, {box.top:g}, {box.right:g}, {box.bottom:g}: left, top, right, bottom) "
            f"lies outside the picture of {width:,} x {height:,} pixels; correct it, or the columns' meaning with "
            "--columns"
        )
    side = max(round(max(box.right - box.left, box.bottom - box.top) * (1 + 2 * margin)), 1)
    left = round((box.left + box.right - side) / 2)
    top = round((box.top + box.bottom - side) / 2)
    return cut_square(picture, left, top, side)


def cut_square(picture: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """The square of a picture with this corner and side; beyond the picture its edge is repeated."""
    height, width = picture.shape[:2]
    inside = picture[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    above, before = max(-top, 0), max(-left, 0)
    below, behind = max(top + side - height, 0), max(left + side - width, 0)
    if not any((above, before, below, behind)):
        return inside
    return cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_REPLICATE)
