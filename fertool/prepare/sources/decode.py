"""One picture file -> one square face."""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np

from fertool.errors import UserError

PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".exr", ".gif", ".hdr", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm",
    ".pic", ".png", ".pnm", ".ppm", ".pxm", ".ras", ".sr", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""The formats that OpenCV reads."""


_AS_STORED = cv2.IMREAD_ANYCOLOR
"""Eight bits, grey or colour as the file has it, turned as its EXIF says, alpha dropped."""


def decode_face(data: bytes, size: int, where: str) -> np.ndarray:
    """The picture in `data` as uint8 (size, size), or (size, size, 3) in RGB where it has colour.

    A picture whose three channels are equal is grey: many grey data sets are stored as colour. One that is
    not square is cropped to its centre, where faces stand, which keeps their proportions; it is resized by
    area when it shrinks and by bicubic interpolation when it grows. Raises UserError where it is no whole
    picture.
    """
    # older versions of OpenCV fill up a truncated JPEG in silence: it lacks the end-of-image mark
    truncated = data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data
    try:
        picture = None if truncated or not data else cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error:
        picture = None
    if picture is None:
        raise UserError(f"{where}: truncated, or no picture that OpenCV reads; get it again or remove it")
    if picture.ndim == 3:
        blue, green, red = cv2.split(picture)
        is_grey = np.array_equal(blue, green) and np.array_equal(green, red)
        picture = blue if is_grey else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return fit(picture, size)


def fit(picture: np.ndarray, size: int) -> np.ndarray:
    """`picture`, cropped to its centre square and resized to `size` by `size` pixels."""
    height, width = picture.shape[:2]
    side = min(height, width)
    if (height, width) != (side, side):
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
    if side == size:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


@contextlib.contextmanager
def opencv_silent() -> Iterator[None]:
    """Keep OpenCV from writing lines of its own to stderr about a picture that it cannot read."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
