"""A zip archive as the files of a source."""

import contextlib
import posixpath
import stat
import struct
import zipfile
from pathlib import Path

from fertool.errors import UserError
from fertool.prepare.sources.limits import (
    MAX_FILES,
    MAX_NAME_CHARS,
    refuse_bomb,
    refuse_long_name,
    refuse_many_files,
)
from fertool.prepare.sources.source_files import SourceFiles, is_wanted, parents

_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ENCRYPTED, _UTF8 = 0x1 | 0x40, 0x800  # bits of a member's flags
_SMALLEST_ENTRY = 46  # bytes of a member in the directory at the archive's end, without its name
_LONGEST_END = 2**16 + 22


def is_zip(magic: bytes) -> bool:
    """Whether a file that begins with `magic` is a zip archive."""
    return magic.startswith(_MAGICS)


def refuse_long_directory(path: Path) -> None:
    """Raise UserError where an archive lists more files than any data set has, before the list is read.

    The directory's size stands in the record at the archive's end (PKWARE's APPNOTE.TXT, 4.3.14 and 4.3.16).
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(max(0, size - _LONGEST_END))
        end = handle.read(_LONGEST_END)
        at = end.rfind(b"PK\x05\x06")
        if at < 0 or at + 22 > len(end):
            return  # zipfile says that it is no archive
        (directory,) = struct.unpack("<I", end[at + 12 : at + 16])
        if directory == 0xFFFFFFFF:
            locator = end.rfind(b"PK\x06\x06", 0, at)
            if 0 <= locator <= len(end) - 48:
                (directory,) = struct.unpack("<Q", end[locator + 40 : locator + 48])
    if min(directory, size) > MAX_FILES * _SMALLEST_ENTRY:
        refuse_many_files(path, min(directory, size) // _SMALLEST_ENTRY)


def zip_files(path: Path, archive: zipfile.ZipFile) -> SourceFiles:
    """The files of a zip archive.

    Backslashes between folders, as some programs of Windows write them, are read as slashes. Raises UserError for
    members that point outside, unpack to too much, are encrypted or packed in other ways than stored and deflated.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    refuse_many_files(path, len(archive.infolist()))
    for member in archive.infolist():
        name = _name(path, member)
        refuse_long_name(path, name)
        refuse_outside(path, name)
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if not is_link and not is_wanted(name):
            continue
        if name.endswith("/"):
            folders.add(name.rstrip("/"))
            continue
        _refuse_unreadable(path, name, member)
        if is_link:
            refuse_outside(path, name, _link(path, archive, member))
        else:
            members[name] = member
    folders.discard("")
    sizes = {name: member.file_size for name, member in members.items()}
    refuse_bomb(path, "the archive", sum(sizes.values()), path.stat().st_size)
    folders |= parents(path, [*sizes, *folders])
    return SourceFiles(path, sizes, folders, lambda name: archive.open(members[name]), packed=True)


def _name(path: Path, member: zipfile.ZipInfo) -> str:
    name = member.filename
    if not member.flag_bits & _UTF8:
        # macOS writes UTF-8 and does not say so
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    if not name.strip("/\\"):
        raise UserError(f"{path}: a member has no name; unpack it and give the folder")
    return name.replace("\\", "/")


def _refuse_unreadable(path: Path, name: str, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise UserError(f"{path}: member '{name}' is encrypted; unpack it and give the folder")
    # bzip2 and LZMA can unpack a few bytes to gigabytes at once
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{path}: member '{name}' is packed in a way that is not read (method {member.compress_type}); "
            "unpack it and give the folder"
        )
    refuse_bomb(path, f"member '{name}'", member.file_size, member.compress_size)


def _link(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """The target of a symbolic link, which is its content."""
    if member.file_size > MAX_NAME_CHARS:
        raise UserError(
            f"{path}: member '{member.filename}' is a link to a name of {member.file_size:,} bytes; "
            "do not trust it, get another"
        )
    with archive.open(member) as stream:
        return stream.read(MAX_NAME_CHARS).decode()


def refuse_outside(path: Path, name: str, link: str | None = None) -> None:
    """Raise UserError where an archive's member, or the target of a link in it, lies outside the archive."""
    reached = name if link is None else posixpath.join(posixpath.dirname(name), link)
    reached = reached.replace("\\", "/")
    lands = posixpath.normpath(reached)
    is_above = lands.startswith("/") or lands.split("/")[0] == ".." or lands[1:2] == ":"
    if is_above or ".." in name.replace("\\", "/").split("/"):
        raise UserError(f"{path}: member '{name}' points outside the archive; do not trust it, get another")
