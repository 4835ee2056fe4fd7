"""The files of a source, whatever holds them. Nothing is ever unpacked to disk."""

import contextlib
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from fertool.errors import UserError
from fertool.prepare.sources.limits import refuse_many_folders

_DAMAGE = (
    EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, UnicodeError,
    struct.error, ValueError, OverflowError, IndexError,
)  # fmt: skip
"""The errors that the standard library raises, somewhere, for damaged archives."""


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source.

    Args:
        path: the source itself, a folder or a file.
        sizes: the size in bytes of each file by its name (relative, with slashes), in the order in which they are
            quickest read. Hidden files, those that macOS adds, and an archive's symbolic links are left out.
        folders: the names of all folders.
        open: opens one of the files by its name.
        packed: whether the source is an archive.
    """

    path: Path
    sizes: dict[str, int]
    folders: set[str]
    open: Callable[[str], IO[bytes]]
    packed: bool

    def where(self, name: str) -> str:
        """The name of one of the files in messages."""
        if self.packed:
            return f"{self.path}: {name}"
        return str(self.path / name if self.path.is_dir() else self.path)

    @contextlib.contextmanager
    def reading(self, name: str) -> Generator[IO[bytes]]:
        """Open one of the files. Raises UserError where it turns out damaged."""
        with damage_named(self.where(name)), self.open(name) as stream:
            yield stream

    def read(self, name: str) -> bytes:
        """The content of one of the files, of its size and no more. Raises UserError where it turns out damaged."""
        with self.reading(name) as stream:
            # asked for all, zipfile unpacks whatever a member holds, and cuts it to its size only then
            data = stream.read(self.sizes[name])
            if stream.read(1):
                raise UserError(f"{self.where(name)}: larger than its archive says; get the file again")
            return data


@contextlib.contextmanager
def damage_named(where: str) -> Generator[None]:
    """Raise UserError, naming `where`, for what the standard library raises for damaged or unknown archives."""
    try:
        yield
    except UserError:
        raise
    except (
        NotImplementedError,
        RuntimeError,
    ) as error:  # a way of packing or encrypting that Python does not know
        raise UserError(f"{where}: {_reason(error)}; unpack it and give the folder") from error
    except MemoryError as error:
        raise UserError(f"{where}: needs more memory than there is; get the file again") from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{where}: cannot be read ({error.strerror})") from error
        raise UserError(f"{where}: truncated or damaged ({_reason(error)}); get the file again") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def is_wanted(name: str) -> bool:
    """Whether a file or folder is neither hidden nor one that macOS adds."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def parents(path: Path, names: Iterable[str]) -> set[str]:
    """The names of all folders above `names`. Raises UserError where there are too many."""
    found: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
        refuse_many_folders(path, len(found))
    return found
