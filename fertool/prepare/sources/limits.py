"""Bounds on what a source may cost, far above any data set of faces, so that none fills the memory or never ends."""

import os
from pathlib import Path

from fertool.errors import UserError

MAX_UNPACKED_RATIO = 100
"""The size that an archive may unpack to, in its own sizes. FER2013 as a csv packs to a third, pictures not at all,
and faces never to a hundredth; deflate can reach a thousandth."""

FREE_UNPACKED_BYTES = 64 * 2**20
"""The size that any archive may unpack to: blank test data are small when packed."""

MAX_FILES = 2_000_000
"""Files of a source. The largest data sets of faces (AffectNet, IMDB-WIKI) have a million or less."""

MAX_FOLDERS = 100_000
"""Folders of a source; the seven emotions need seven, and a person each in them some thousands."""

MAX_NAME_CHARS = 1000
"""Characters of a file's name with its folders."""

MAX_PART_CHARS = 255
"""Characters of the name of one file or folder; file systems take no more bytes."""

MAX_DEPTH = 20
"""Folders within each other."""

MAX_PICTURE_BYTES = 256 * 2**20
"""Size of a picture's file."""

MAX_PICTURE_PIXELS = 2**26
"""Height times width of a picture: 8192 x 8192, which takes 0.2 GB in colour."""

MIN_PICTURE_SIDE = 4
"""Pixels; nobody can see a face in fewer."""

MAX_READ_BYTES = 64 * 2**20
"""The most that `tarfile` may ask for at once: its own headers are read whole, however long they say that they are."""

MAX_VOTES_BYTES = 64 * 2**20
"""Size of the file with the votes of FER+, which has 1.6 MB."""


def refuse_bomb(path: Path, what: str, unpacked_bytes: int, packed_bytes: int) -> None:
    """Raise UserError where something unpacks to more than any faces do."""
    if unpacked_bytes > max(FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed_bytes):
        raise UserError(
            f"{path}: {what} unpacks to over {MAX_UNPACKED_RATIO} times its size; "
            "no data set of faces does, get another copy"
        )


def refuse_long_name(path: Path, name: str) -> None:
    """Raise UserError for a name that no data set has: too long, or in too many folders."""
    parts = name[: MAX_NAME_CHARS + 1].split("/")
    if (
        len(name) > MAX_NAME_CHARS
        or len(parts) > MAX_DEPTH
        or any(len(part) > MAX_PART_CHARS for part in parts)
    ):
        raise UserError(
            f"{path}: the name '{name[:40]}...' is too long (at most {MAX_NAME_CHARS:,} characters, "
            f"{MAX_PART_CHARS} of each folder, and {MAX_DEPTH} folders); shorten it"
        )


def refuse_many_files(path: Path, count: int) -> None:
    """Raise UserError where a source has more files than any data set."""
    if count > MAX_FILES:
        raise UserError(f"{path}: over {MAX_FILES:,} files; give a part of it")


def refuse_many_folders(path: Path, count: int) -> None:
    """Raise UserError where a source has more folders than any data set."""
    if count > MAX_FOLDERS:
        raise UserError(f"{path}: over {MAX_FOLDERS:,} folders; give a part of it")


def refuse_large_picture(where: str, size_bytes: int) -> None:
    """Raise UserError for a picture's file that is too large to be read."""
    if size_bytes > MAX_PICTURE_BYTES:
        raise UserError(
            f"{where}: {size_bytes / 2**20:,.0f} MB, where a picture may have {MAX_PICTURE_BYTES >> 20}; "
            "make it smaller or remove it"
        )


def refuse_pixels(where: str, width: int, height: int) -> None:
    """Raise UserError for a picture of a size that no face has."""
    if width * height > MAX_PICTURE_PIXELS:
        raise UserError(
            f"{where}: {width:,} x {height:,} pixels, where {MAX_PICTURE_PIXELS // 10**6} million are the most; "
            "make it smaller or remove it"
        )
    if min(width, height) < MIN_PICTURE_SIDE:
        raise UserError(
            f"{where}: {width:,} x {height:,} pixels, too few for a face; get it again or remove it"
        )


def refuse_memory(where: str, faces_bytes: int) -> None:
    """Raise UserError where the faces alone would fill the machine's memory."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if faces_bytes > memory_bytes:
        raise UserError(
            f"{where}: its faces would take {faces_bytes / 2**30:,.1f} GB, and this machine has "
            f"{memory_bytes / 2**30:,.1f}; give a smaller --size"
        )
