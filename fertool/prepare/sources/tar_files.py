"""A tar archive as the files of a source."""

import io
import tarfile
from collections import Counter
from pathlib import Path
from typing import IO, cast

from fertool.errors import UserError
from fertool.prepare.sources.folder_files import refuse_unreadable_name
from fertool.prepare.sources.limits import (
    MAX_READ_BYTES,
    refuse_bomb,
    refuse_large_picture,
    refuse_long_name,
    refuse_many_files,
)
from fertool.prepare.sources.source_files import SourceFiles, is_wanted, parents
from fertool.prepare.sources.zip_files import refuse_outside


class BoundedReads:
    """A stream that gives at most MAX_READ_BYTES at once: a header may say any length of what follows it."""

    def __init__(self, where: str, stream: IO[bytes]) -> None:
        self._where = where
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise UserError(f"{self._where}: damaged (a header of {size:,} bytes); get the file again")
        return self._stream.read(size)


def tar_files(path: Path, archive: tarfile.TarFile) -> SourceFiles:
    """The files of a tar archive; hard links stand for the files that they name.

    Raises UserError for members that point outside, unpack to too much, or have a size that cannot be, and where the
    archive ends without the mark of its end.
    """
    members: dict[str, tarfile.TarInfo] = {}
    whole: dict[str, tarfile.TarInfo] = {}  # unwanted ones too, by the names that hard links have for them
    folders: set[str] = set()
    total = 0
    packed_bytes = path.stat().st_size
    for count, member in enumerate(archive):
        name = member.name.removeprefix("./")
        _refuse_odd(path, name, member, count)
        total += member.size
        refuse_bomb(path, "the archive", total, packed_bytes)
        if member.islnk():
            whole[member.name] = _linked(path, name, member, whole)
        elif member.isfile():
            whole[member.name] = member
        if not is_wanted(name):
            continue
        if member.isdir():
            folders.add(name)
        elif member.name in whole:
            members[name] = whole[member.name]
    _refuse_early_end(archive)
    # in the order of the archive: going back in a compressed one means to begin again
    names = sorted(members, key=lambda name: members[name].offset_data)
    sizes = {name: members[name].size for name in names}
    folders.discard(".")
    folders |= parents(path, [*sizes, *folders])
    return SourceFiles(path, sizes, folders, _Reader(path, archive, members).open, packed=True)


def _refuse_odd(path: Path, name: str, member: tarfile.TarInfo, count: int) -> None:
    if member.size < 0 or member.offset_data < 0:
        raise UserError(f"{path}: damaged (a member of {member.size:,} bytes); get the file again")
    refuse_many_files(path, count + 1)
    refuse_long_name(path, name)
    refuse_long_name(path, member.linkname)
    refuse_unreadable_name(path, name)
    refuse_outside(path, name)
    if member.issym():
        refuse_outside(path, name, member.linkname)
    elif member.islnk():
        refuse_outside(path, member.linkname)


def _linked(
    path: Path, name: str, member: tarfile.TarInfo, whole: dict[str, tarfile.TarInfo]
) -> tarfile.TarInfo:
    if member.linkname not in whole:
        raise UserError(f"{path}: member '{name}' stands for '{member.linkname}', which is not before it")
    return whole[member.linkname]


def _refuse_early_end(archive: tarfile.TarFile) -> None:
    # a header that is cut or damaged ends the loop over members as the end's mark does
    stream = cast(IO[bytes], archive.fileobj)
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends without the mark of its end")


class _Reader:
    """Opens members; one that several hard links stand for is read once, where these are read in a row."""

    def __init__(self, path: Path, archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> None:
        self._path = path
        self._archive = archive
        self._members = members
        counts = Counter(member.offset_data for member in members.values())
        self._shared = {offset for offset, count in counts.items() if count > 1}
        self._last: tuple[int, bytes] = (-1, b"")

    def open(self, name: str) -> IO[bytes]:
        member = self._members[name]
        if member.offset_data not in self._shared:
            return cast(IO[bytes], self._archive.extractfile(member))
        if self._last[0] != member.offset_data:
            refuse_large_picture(f"{self._path}: {name}", member.size)
            with cast(IO[bytes], self._archive.extractfile(member)) as stream:
                self._last = (member.offset_data, stream.read(member.size))
        return io.BytesIO(self._last[1])
