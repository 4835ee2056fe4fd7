"""A path -> the files of a source: a folder, a zip, a tar or a single file, compressed or not."""

import contextlib
import hashlib
import stat
import tarfile
import zipfile
from collections.abc import Generator
from pathlib import Path

from fertool.errors import UserError
from fertool.prepare.sources.decompress import decompressed
from fertool.prepare.sources.folder_files import folder_files
from fertool.prepare.sources.source_files import SourceFiles, damage_named
from fertool.prepare.sources.tar_files import BoundedReads, tar_files
from fertool.prepare.sources.zip_files import is_zip, refuse_long_directory, zip_files
from fertool.runtime.files import file_sha256
from fertool.runtime.printable import printable


@contextlib.contextmanager
def open_source(path: Path, apart: Path | None = None) -> Generator[SourceFiles]:
    """Open a folder (without what is in `apart`), a zip, a tar (plain or compressed) or a file (plain or compressed).

    Raises UserError where there is no such file or it is none (a device, a pipe), where a folder holds something
    that cannot be read or a link to nothing, where an archive is truncated or damaged, encrypted, has a member that
    points outside of it, or is larger than `limits` allow.
    """
    refuse_no_file(path)
    if path.is_dir():
        yield folder_files(path, apart)
        return
    where = str(path)
    with contextlib.ExitStack() as stack:
        with damage_named(where):
            with path.open("rb") as handle:
                magic = handle.read(8)
            if is_zip(magic):
                refuse_long_directory(path)
                files = zip_files(path, stack.enter_context(zipfile.ZipFile(path)))
            else:
                stream = stack.enter_context(decompressed(path, magic))
                header = stream.read(512)
                stream.seek(0)
                if header[257:262] == b"ustar":
                    bounded = BoundedReads(where, stream)
                    # tarfile's types ask for a stream that can be written, too
                    archive = stack.enter_context(tarfile.open(fileobj=bounded, mode="r:"))  # ty: ignore[no-matching-overload]
                    files = tar_files(path, archive)
                else:
                    files = _single_file(path, magic)
        yield files


def content_hash(path: Path, apart: Path | None = None) -> str:
    """SHA-256 of a file, or of a folder's relative file names and contents in sorted order, without those in `apart`.

    Raises UserError where there is no such file or it is none, and where a folder holds something that cannot be
    read or a link to nothing.
    """
    refuse_no_file(path)
    if not path.is_dir():
        with damage_named(str(path)):
            return file_sha256(path)
    total = hashlib.sha256()
    for name in sorted(folder_files(path, apart).sizes):
        with damage_named(str(path / name)):
            total.update(f"{name}\0{file_sha256(path / name)}\n".encode())
    return total.hexdigest()


def refuse_no_file(path: Path) -> None:
    """Raise UserError for a path that is neither a regular file nor a folder: reading anything else may never end."""
    where = str(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{where}: no such file or folder; check the path") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{where[:200]}: cannot be read ({error}); check the path") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{where}: a device or a pipe, not a file; save its content as a file and give that")


def _single_file(path: Path, magic: bytes) -> SourceFiles:
    sizes = {printable(path.name): path.stat().st_size}
    return SourceFiles(path, sizes, set(), lambda _name: decompressed(path, magic), packed=False)
