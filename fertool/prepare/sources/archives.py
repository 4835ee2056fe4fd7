"""The files of a source, whether it is a folder, an archive or one file. Nothing is ever unpacked to disk."""

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from fertool.errors import UserError
from fertool.runtime.files import file_sha256

MOST_UNPACKED = 100
"""How many times its packed size an archive may unpack to. FER2013 as a csv packs to a third, pictures not at
all, and faces never to a hundredth; deflate can reach a thousandth."""

ALWAYS_UNPACKED_BYTES = 64 * 2**20
"""What may be unpacked whatever it was packed to: blank test data are small when packed."""

_COMPRESSIONS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": cast(Callable[[Path], IO[bytes]], gzip.open),
    b"BZh": cast(Callable[[Path], IO[bytes]], bz2.open),
    b"\xfd7zXZ\x00": cast(Callable[[Path], IO[bytes]], lzma.open),
}
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DAMAGE = (
    EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, UnicodeDecodeError,
)  # fmt: skip


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source.

    `sizes` maps each file's name (relative, with slashes; hidden files, macOS's own and an archive's symbolic
    links are left out) to its size in bytes, in the order in which they are quickest read; `folders` are the names
    of all folders.
    `open` opens one of them.
    """

    path: Path
    sizes: dict[str, int]
    folders: set[str]
    open: Callable[[str], IO[bytes]]
    packed: bool

    def where(self, name: str) -> str:
        """How messages name one of the files."""
        if self.packed:
            return f"{self.path}: {name}"
        return str(self.path / name if self.path.is_dir() else self.path)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Open one of the files. Raises UserError where it turns out damaged."""
        with _damage_named(self.where(name)), self.open(name) as stream:
            yield stream

    def read(self, name: str) -> bytes:
        """The content of one of the files. Raises UserError where it turns out damaged."""
        with self.reading(name) as stream:
            return stream.read()


@contextlib.contextmanager
def open_source(path: Path, apart: Path | None = None) -> Iterator[SourceFiles]:
    """Open a folder without what is in `apart`, a zip, a tar (plain or compressed) or a file (plain or compressed).

    Raises UserError where there is no such file, where a folder holds something that cannot be read or a link to
    nothing, where an archive is truncated or damaged, encrypted, has a member that points outside of it, or
    unpacks to more than MOST_UNPACKED times its size.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        yield _folder(path, apart)
        return
    with contextlib.ExitStack() as stack:
        with _damage_named(str(path)):
            with path.open("rb") as handle:
                magic = handle.read(8)
            if magic.startswith(_ZIP_MAGICS):
                files = _zip(path, stack.enter_context(zipfile.ZipFile(path)))
            else:
                stream = stack.enter_context(_decompressed(path, magic))
                header = stream.read(512)
                stream.seek(0)
                if header[257:262] == b"ustar":
                    archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
                    files = _tar(path, archive)
                else:
                    files = _single_file(path, magic)
        yield files


def content_hash(path: Path, apart: Path | None = None) -> str:
    """SHA-256 of a file, or of a folder's relative file names and contents in sorted order, without those in `apart`.

    Raises UserError where there is no such file, and where a folder holds something that cannot be read or a link to
    nothing.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path")
    if not path.is_dir():
        return file_sha256(path)
    total = hashlib.sha256()
    for name in sorted(_folder(path, apart).sizes):
        total.update(f"{name}\0{file_sha256(path / name)}\n".encode())
    return total.hexdigest()


@contextlib.contextmanager
def _damage_named(where: str) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:  # a way of packing that Python does not know
        raise UserError(f"{where}: {error}; unpack it and give the folder") from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{where}: cannot be read ({error.strerror})") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where}: truncated or damaged ({reason}); get the file again") from error


def _is_wanted(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _parents(names: Iterable[str]) -> set[str]:
    return {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}


def _refuse_unreadable_name(path: Path, name: str) -> None:
    """Raise UserError for bytes that are no UTF-8, as old archives have them."""
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if shown != name:
        raise UserError(f"{path}: the name '{shown}' is not in UTF-8; rename it, as with convmv")


def _refuse_outside(path: Path, name: str, link: str | None = None) -> None:
    """Raise UserError where an archive's member, or the target of a link in it, lies outside the archive."""
    reached = name if link is None else posixpath.join(posixpath.dirname(name), link)
    reached = reached.replace("\\", "/")
    lands = posixpath.normpath(reached)
    if lands.startswith(("/", "..")) or ".." in name.replace("\\", "/").split("/") or lands[1:2] == ":":
        raise UserError(f"{path}: member '{name}' points outside the archive; do not trust it, get another")


def _refuse_bomb(path: Path, what: str, unpacked_bytes: int, packed_bytes: int) -> None:
    if unpacked_bytes > max(ALWAYS_UNPACKED_BYTES, MOST_UNPACKED * packed_bytes):
        raise UserError(
            f"{path}: {what} unpacks to over {MOST_UNPACKED} times its size; "
            "no data set of faces does, get another copy"
        )


def _folder(path: Path, apart: Path | None) -> SourceFiles:
    sizes: dict[str, int] = {}
    folders: set[str] = set()
    left_out = None if apart is None else apart.resolve()

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error

    def is_entered(folder: Path) -> bool:
        real = folder.resolve()
        is_loop = folder.is_symlink() and any(
            above.resolve().is_relative_to(real) for above in folder.parents if above.is_relative_to(path)
        )
        return _is_wanted(folder.name) and real != left_out and not is_loop

    for parent, names, files in os.walk(path, onerror=refuse, followlinks=True):
        names[:] = sorted(name for name in names if is_entered(Path(parent, name)))
        here = Path(parent).relative_to(path)
        folders.update((here / name).as_posix() for name in names)
        for name in sorted(filter(_is_wanted, files)):
            file = Path(parent) / name
            _refuse_unreadable_name(path, (here / name).as_posix())
            if file.is_file():
                sizes[(here / name).as_posix()] = file.stat().st_size
            elif file.is_symlink() and not file.exists():
                raise UserError(f"{file}: a link to nothing; fetch what it stands for, or remove it")
    return SourceFiles(path, sizes, folders, lambda name: (path / name).open("rb"), packed=False)


def _zip(path: Path, archive: zipfile.ZipFile) -> SourceFiles:
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for member in archive.infolist():
        _refuse_outside(path, member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            _refuse_outside(path, member.filename, archive.read(member).decode())
            continue
        _refuse_bomb(path, f"member '{member.filename}'", member.file_size, member.compress_size)
        if not _is_wanted(member.filename):
            continue
        if member.is_dir():
            folders.add(member.filename.rstrip("/"))
            continue
        if member.flag_bits & 1:
            raise UserError(f"{path}: member '{member.filename}' is encrypted; unpack it and give the folder")
        members[member.filename] = member
    sizes = {name: member.file_size for name, member in members.items()}
    _refuse_bomb(path, "the archive", sum(sizes.values()), path.stat().st_size)
    folders |= _parents([*sizes, *folders])
    return SourceFiles(path, sizes, folders, lambda name: archive.open(members[name]), packed=True)


def _tar(path: Path, archive: tarfile.TarFile) -> SourceFiles:
    members: dict[str, tarfile.TarInfo] = {}
    whole: dict[str, tarfile.TarInfo] = {}  # unwanted ones too, by the names that hard links have for them
    folders: set[str] = set()
    total = 0
    packed_bytes = path.stat().st_size
    for member in archive:
        name = member.name.removeprefix("./")
        _refuse_unreadable_name(path, name)
        _refuse_outside(path, name)
        if member.issym():
            _refuse_outside(path, name, member.linkname)
        elif member.islnk():
            _refuse_outside(path, member.linkname)
            if member.linkname not in whole:
                raise UserError(
                    f"{path}: member '{name}' stands for '{member.linkname}', which is not before it"
                )
        total += member.size
        _refuse_bomb(path, "the archive", total, packed_bytes)
        if member.isfile() or member.islnk():
            whole[member.name] = whole[member.linkname] if member.islnk() else member
        if not _is_wanted(name):
            continue
        if member.isdir():
            folders.add(name)
        elif member.name in whole:
            members[name] = whole[member.name]
    # a header that is cut or damaged ends the loop as the end mark does
    stream = cast(IO[bytes], archive.fileobj)
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends without the mark of its end")
    sizes = {name: member.size for name, member in members.items()}
    folders |= _parents([*sizes, *folders])
    return SourceFiles(
        path, sizes, folders, lambda name: cast(IO[bytes], archive.extractfile(members[name])), packed=True
    )


def _single_file(path: Path, magic: bytes) -> SourceFiles:
    sizes = {path.name: path.stat().st_size}
    return SourceFiles(path, sizes, set(), lambda _name: _decompressed(path, magic), packed=False)


class _Guarded(io.RawIOBase):
    """A stream that is being decompressed, and that refuses to grow beyond what its source may unpack to."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        self._packed_bytes = path.stat().st_size
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        _refuse_bomb(self._path, "the file", self._stream.tell(), self._packed_bytes)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _decompressed(path: Path, magic: bytes) -> IO[bytes]:
    for beginning, opener in _COMPRESSIONS.items():
        if magic.startswith(beginning):
            return io.BufferedReader(_Guarded(path, opener(path)), buffer_size=2**20)
    return path.open("rb")
