"""The header of a picture's file, read before it is decoded: no file may ask for more memory than faces need."""

import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from fertool.errors import UserError
from fertool.prepare.sources.limits import MAX_PICTURE_PIXELS, refuse_pixels


@dataclass(frozen=True)
class PictureHeader:
    """The size of a picture in pixels, as stored, and what its pixels are.

    Args:
        width: pixels.
        height: pixels.
        bits: bits of a value of one colour.
        maximum: the value of white, where the file tells it (PGM, PPM).
        is_scaled: whether OpenCV scales the values to this maximum by itself.
        has_alpha: whether a TIFF has more values a pixel than its colours.
        is_float: whether values are fractions, or integers of 32 bits and more.
        orientation: how an AVIF picture is to be turned, in EXIF's codes 1 to 8.
    """

    width: int
    height: int
    bits: int = 8
    maximum: int | None = None
    is_scaled: bool = False
    has_alpha: bool = False
    is_float: bool = False
    orientation: int = 1


_PILLOW_FORMATS = {
    b"BM": "BMP", b"GIF8": "GIF", b"RIFF": "WEBP", b"\x59\xa6\x6a\x95": "SUN",
    b"\x00\x00\x00\x0cjP  ": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000",
}  # fmt: skip
_CUT = (
    ValueError, IndexError, KeyError, TypeError, struct.error, EOFError, OSError, SyntaxError, OverflowError,
)  # fmt: skip
_FLOATS = (b"#?RADIANCE", b"#?RGBE", b"PF", b"Pf", b"\x76\x2f\x31\x01")  # HDR, PFM, OpenEXR
_TIFFS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def read_header(data: bytes, where: str) -> PictureHeader:
    """The header of a picture's file.

    Raises UserError where it is cut, asks for more pixels than a face has, holds fractions, or is no picture that
    OpenCV and Pillow know.
    """
    try:
        header = _header(data)
    except _CUT:
        header = None
    if header is None or header.width < 1 or header.height < 1:
        raise unreadable(where)
    if header.is_float:
        raise UserError(
            f"{where}: has floating-point values, or integers of 32 bits; save it with 8 or 16 bits a value"
        )
    refuse_pixels(where, header.width, header.height)
    return header


def unreadable(where: str) -> UserError:
    """The error for a picture that is damaged or in an unknown format."""
    return UserError(f"{where}: truncated, or no picture that OpenCV reads; get it again or remove it")


def _header(data: bytes) -> PictureHeader | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height, bits = struct.unpack(">IIB", data[16:25])
        return PictureHeader(width, height, bits)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(_TIFFS):
        return _tiff(data)
    if data.startswith(_FLOATS):
        return PictureHeader(1, 1, is_float=True)
    if data[:1] == b"P" and data[1:2].isdigit():
        return _pam(data) if data[1:2] == b"7" else _pnm(data[:_LONGEST_TEXT])
    return _by_pillow(data)


_MOST_MARKERS = 10_000
_ALONE = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})
"""Markers of a JPEG that no length follows, and what stands for none: a byte of the picture, a byte that fills."""

_LONGEST_TEXT = 2**16  # bytes of a PNM's header


def _jpeg(data: bytes) -> PictureHeader | None:
    """The size in the first start of frame (ITU-T T.81, B.2.2)."""
    at = 2
    for _ in range(_MOST_MARKERS):
        at = data.index(b"\xff", at) + 1
        marker = data[at]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width = struct.unpack(">BHH", data[at + 3 : at + 8])
            return PictureHeader(width, height, bits)
        if marker == 0xDA:
            return None
        if marker not in _ALONE:
            at += 1 + struct.unpack(">H", data[at + 1 : at + 3])[0]
    return None


def _tokens(data: bytes) -> Iterator[int]:
    """The whole numbers of a PNM header, without its comments."""
    at = 2
    while at < len(data):
        if data[at : at + 1].isspace():
            at += 1
        elif data[at : at + 1] == b"#":
            at = data.index(b"\n", at)
        else:
            stop = at
            while stop < min(len(data), at + 12) and data[stop : stop + 1].isdigit():
                stop += 1
            yield int(data[at:stop])
            at = stop


def _pnm(data: bytes) -> PictureHeader:
    tokens = _tokens(data)
    width, height = next(tokens, 0), next(tokens, 0)
    if data[1:2] in b"14":
        return PictureHeader(width, height, 1)
    return _netpbm_header(width, height, next(tokens, 0), is_text=data[1:2] in b"23")


def _pam(data: bytes) -> PictureHeader:
    end = data.index(b"ENDHDR", 0, 4096)
    fields = dict(line.split(maxsplit=1) for line in data[2:end].splitlines() if len(line.split()) > 1)
    width, height, maximum = (int(fields[name][:12]) for name in (b"WIDTH", b"HEIGHT", b"MAXVAL"))
    return _netpbm_header(width, height, maximum, is_text=False)


def _netpbm_header(width: int, height: int, maximum: int, is_text: bool) -> PictureHeader:
    if not 1 <= maximum <= 65535:
        raise ValueError(maximum)
    bits = 8 if maximum < 256 else 16
    # OpenCV scales values of eight bits where they are written as text, and no others
    return PictureHeader(width, height, bits, maximum, is_scaled=is_text and bits == 8)


_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT = 256, 257, 258, 262, 277, 338, 339
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_ENTRIES = 4096


def _tiff(data: bytes) -> PictureHeader:
    """The first directory of a TIFF (revision 6.0, section 2; BigTIFF alike with longer offsets)."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    offset_type, count_type, entry_bytes = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (at,) = struct.unpack_from(order + offset_type, data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + count_type, data, at)
    at += struct.calcsize(count_type)
    tags = {
        tag: value
        for number in range(min(count, _MOST_ENTRIES))
        for tag, value in _tiff_entry(data, at + number * entry_bytes, order, offset_type)
    }
    formats, bits = tags.get(_FORMAT, (1,)), tags.get(_BITS, (1,))
    colours = {2: 3, 3: 1, 5: 4, 6: 3, 8: 3}.get(tags.get(_PHOTOMETRIC, (1,))[0], 1)
    return PictureHeader(
        tags[_WIDTH][0],
        tags[_HEIGHT][0],
        max(bits),
        has_alpha=_EXTRA in tags or tags.get(_SAMPLES, (1,))[0] > colours,
        is_float=any(code not in (1, 4) for code in formats) or max(bits) > 16,
    )


def _tiff_entry(data: bytes, at: int, order: str, offset_type: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    tag, kind, count = struct.unpack_from(f"{order}HH{offset_type}", data, at)
    if (
        tag not in (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT)
        or kind not in _TIFF_TYPES
    ):
        return
    at += 4 + struct.calcsize(offset_type)
    code = _TIFF_TYPES[kind]
    count = max(1, min(count, 16))
    if count * struct.calcsize(code) > struct.calcsize(offset_type):
        (at,) = struct.unpack_from(order + offset_type, data, at)
    yield tag, struct.unpack_from(f"{order}{count}{code}", data, at)


def _by_pillow(data: bytes) -> PictureHeader | None:
    from PIL import Image

    name = next((name for magic, name in _PILLOW_FORMATS.items() if data.startswith(magic)), None)
    if name is None and data[4:8] == b"ftyp":
        name = "AVIF"
    if name is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about large pictures: our limit follows
        try:
            picture = Image.open(io.BytesIO(data), formats=[name])
            orientation = picture.getexif().get(0x112, 1) if name == "AVIF" else 1
        except Image.DecompressionBombError:
            return PictureHeader(MAX_PICTURE_PIXELS, 2)
        except Exception:  # Pillow's readers raise whatever they meet
            return None
        with picture:
            bits = 16 if picture.mode.startswith("I") else 8
            return PictureHeader(
                *picture.size, bits, orientation=orientation if orientation in range(1, 9) else 1
            )
