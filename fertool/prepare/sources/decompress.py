"""A compressed file as a stream that refuses to grow without end."""

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from fertool.prepare.sources.limits import refuse_bomb

_COMPRESSIONS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": cast(Callable[[Path], IO[bytes]], gzip.open),
    b"BZh": cast(Callable[[Path], IO[bytes]], bz2.open),
    b"\xfd7zXZ\x00": cast(Callable[[Path], IO[bytes]], lzma.open),
}


def decompressed(path: Path, magic: bytes) -> IO[bytes]:
    """Open a file that begins with `magic`, decompressed where it is compressed."""
    for beginning, opener in _COMPRESSIONS.items():
        if magic.startswith(beginning):
            return io.BufferedReader(_Guarded(path, opener(path)), buffer_size=2**20)
    return path.open("rb")


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
        position = self._stream.seek(offset, whence)
        refuse_bomb(self._path, "the file", position, self._packed_bytes)
        return position

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        refuse_bomb(self._path, "the file", self._stream.tell(), self._packed_bytes)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
