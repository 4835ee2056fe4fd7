"""One picture file -> one square face."""

import contextlib
import io
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fertool.prepare.sources.boxes import Box, cut_box
from fertool.prepare.sources.picture_header import PictureHeader, unreadable

PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".exr", ".gif", ".hdr", ".jfi", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pam", ".pbm", ".pfm", ".pgm", ".pic", ".png", ".pnm", ".ppm", ".pxm", ".ras", ".sr", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""The suffixes of pictures: formats that OpenCV reads, and those with floating-point values, which are refused by name
rather than left out."""

DEEP = 16
"""Bits a value of the pictures that have more than eight."""

SILENT = 0  # a level of OpenCV's log

_AS_STORED = cv2.IMREAD_ANYCOLOR
"""Eight bits, grey or colour as the file has it, turned as its EXIF says, alpha dropped."""

_IN_FULL_DEPTH = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH


@dataclass(frozen=True)
class Cut:
    """The part of a picture that is the face: its box, grown by `margin` of its longer side on either side.

    `where` names the box in messages.
    """

    box: Box
    margin: float
    where: str


def decode_face(
    data: bytes,
    header: PictureHeader,
    size: int,
    where: str,
    used_bits: int = DEEP,
    cut: Cut | None = None,
) -> np.ndarray:
    """The face in the picture `data` as uint8 (size, size), or (size, size, 3) in RGB where it has colour.

    A face whose three channels are equal is grey: many grey data sets are stored as colour. A picture that is not
    square is cropped to its centre, where faces stand, which keeps their proportions, unless `cut` says where the face
    is; it is resized by area when it shrinks and by bicubic interpolation when it grows.

    Args:
        data: the file's content.
        header: what `read_header` says of it.
        size: the side of the face in pixels.
        where: how messages name the file.
        used_bits: how many of the bits of a value the pictures of 16 bits use.
        cut: the part of the picture that is the face. Default: all of it.

    Raises:
        UserError: where it is no whole picture, or the box lies outside it.
    """
    picture = decode_picture(data, header, where, used_bits)
    if cut is not None:
        picture = cut_box(picture, cut.box, cut.margin, cut.where)
    return finished(picture, size)


def decode_picture(data: bytes, header: PictureHeader, where: str, used_bits: int = DEEP) -> np.ndarray:
    """The whole picture as uint8 (H, W) or (H, W, 3) in BGR, turned as it says; arguments as of `decode_face`."""
    picture = _decoded(data, header, used_bits)
    if picture is None:
        raise unreadable(where)
    return _turned(picture, header)


def finished(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture, grey or BGR, as a face: grey where its channels are equal, else RGB, `size` by `size` pixels."""
    has_colour = picture.ndim == 3 and not _is_grey(picture)
    if picture.ndim == 3 and not has_colour:
        picture = np.ascontiguousarray(picture[..., 0])
    face = fit(picture, size)
    return cv2.cvtColor(face, cv2.COLOR_BGR2RGB) if has_colour else face


def brightest(data: bytes, where: str) -> int:
    """The largest value in a picture of 16 bits. Raises UserError where it is no whole picture."""
    picture = _imdecode(data, _IN_FULL_DEPTH)
    if picture is None:
        raise unreadable(where)
    return int(picture.max())


def _decoded(data: bytes, header: PictureHeader, used_bits: int) -> np.ndarray | None:
    """The picture as uint8 (H, W) or (H, W, 3) in BGR; None where it cannot be read."""
    if header.has_alpha:
        picture = _without_alpha(data)
        if picture is not None:
            return picture
    if header.maximum not in (None, 255, 2**DEEP - 1) and not header.is_scaled:
        return _scaled_to_bytes(_imdecode(data, _IN_FULL_DEPTH), header.maximum)
    if header.bits == DEEP and used_bits < DEEP:
        picture = _imdecode(data, _IN_FULL_DEPTH)
        if picture is not None and picture.dtype == np.uint16:
            return (picture >> (used_bits - 8)).astype(np.uint8)
        return picture
    return _imdecode(data, _AS_STORED)


def _imdecode(data: bytes, flags: int) -> np.ndarray | None:
    # older versions of OpenCV fill up a truncated JPEG in silence: it lacks the end-of-image mark
    if not data or (data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data):
        return None
    if data[:2] in (b"P1", b"P2", b"P3"):
        data += b"\n"  # OpenCV wants something behind the last number
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _scaled_to_bytes(picture: np.ndarray | None, maximum: int | None) -> np.ndarray | None:
    """Values 0 to `maximum`, scaled to 0 to 255."""
    if picture is None or maximum is None:
        return None
    scaled = np.rint(np.arange(maximum + 1) * (255 / maximum)).astype(np.uint8)
    return scaled[np.minimum(picture, maximum)]


def _without_alpha(data: bytes) -> np.ndarray | None:
    """A TIFF with alpha by Pillow, in BGR or grey: OpenCV gives its colours multiplied by alpha, darkened."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as picture:
            if picture.mode in ("LA", "La"):
                return np.array(picture.convert("LA").convert("L"))
            if picture.mode in ("RGBA", "RGBa", "RGBX"):
                return np.array(picture.convert("RGBA").convert("RGB"))[..., ::-1].copy()
    except Exception:  # Pillow's readers raise whatever they meet
        return None
    return None


def _turned(picture: np.ndarray, header: PictureHeader) -> np.ndarray:
    """The picture turned as its file says, where OpenCV does not do it (AVIF)."""
    orientation = header.orientation
    if orientation == 1 or (orientation >= 5 and picture.shape[0] != header.height):
        return picture
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    down, across = _FLIPS[orientation]
    return np.ascontiguousarray(picture[::down, ::across])


_FLIPS = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
"""EXIF's orientation -> steps along rows and columns, after rows and columns are exchanged from 5 on."""


def _is_grey(picture: np.ndarray) -> bool:
    first = picture[..., 0]
    return np.array_equal(first, picture[..., 1]) and np.array_equal(first, picture[..., 2])


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
def opencv_silent() -> Generator[None]:
    """Keep OpenCV from writing lines of its own to stderr about a picture that it cannot read."""
    logging: Any = getattr(cv2.utils, "logging", cv2)  # cv2 itself before OpenCV 5
    level = logging.getLogLevel()
    logging.setLogLevel(SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
