"""Files that are whole or not there: what is written goes to a temporary name beside its target and is renamed."""

import contextlib
import csv
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from fertool.errors import UserError
from fertool.runtime.reading import NO_HASH, RECORD_HASH, read_csv, read_json

__all__ = [
    "file_sha256",
    "read_csv",
    "read_json",
    "replacing",
    "write_csv",
    "write_json",
    "write_npy",
    "write_npz",
    "write_record",
]


@contextlib.contextmanager
def replacing(target: Path, *, durable: bool = True) -> Generator[IO[bytes]]:
    """Open a temporary binary file beside `target`; on success rename it to `target`, else remove it.

    Args:
        target: the file to write; a link there is replaced, not followed.
        durable: have the content on the disk before the rename, so that a power loss cannot leave an empty file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    handle = _temporary_beside(target)
    try:
        with handle:
            yield handle
            if durable:
                handle.flush()
                os.fsync(handle.fileno())
        Path(handle.name).chmod(0o644)
        Path(handle.name).replace(target)
    except BaseException as error:
        Path(handle.name).unlink(missing_ok=True)
        # a full disk's error names no file; torch.save raises one of its own beside it
        failed = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(failed, OSError) and failed.filename is None:
            raise OSError(failed.errno, failed.strerror, str(target)) from error
        raise


def remove_leftovers(target: Path) -> None:
    """Remove the temporary files of `target` whose writers were killed: nobody holds their lock any more."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with contextlib.suppress(OSError), open_lock(path, create=False) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _temporary_beside(target: Path) -> IO[bytes]:
    """A new file whose lock this process holds while it is open: another one sees that it is no leftover."""
    while True:
        handle = tempfile.NamedTemporaryFile(  # noqa: SIM115 (closed by the caller, before the rename)
            dir=target.parent, prefix=f".{target.name}.", suffix=".tmp", delete=False
        )
        with contextlib.suppress(
            OSError
        ):  # held by who takes it for a leftover; or a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if Path(handle.name).exists():
            return handle
        handle.close()


def open_lock(path: Path, *, create: bool = True) -> IO[bytes]:
    """Open a lock file, which keeps its content. Raises UserError where a link or no file stands in its place."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        handle = os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UserError(f"{path}: no file, where a lock belongs; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise UserError(f"{path}: no file, where a lock belongs; remove it")
    return handle


def write_json(target: Path, content: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write `content` as indented JSON. Raises ValueError for NaN, which JSON does not know: None stands for it."""
    with replacing(target, durable=durable) as handle:
        handle.write(_json_bytes(content))


def write_record(target: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as `write_json` does, with a last key RECORD_HASH, which `read_json` checks and leaves out.

    It is the SHA-256 of the file's bytes with NO_HASH in its own place.
    """
    text = _json_bytes({**content, RECORD_HASH: NO_HASH})
    head, _, tail = text.rpartition(NO_HASH.encode())
    with replacing(target) as handle:
        handle.write(head + hashlib.sha256(text).hexdigest().encode() + tail)


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # names of files that are not UTF-8, which JSON can escape
        text = json.dumps(content, indent=2, allow_nan=False).encode()
    return text + b"\n"


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows as CSV; bytes of names that are not UTF-8 are escaped."""
    with replacing(target) as handle:
        text = io.TextIOWrapper(
            handle, newline="", encoding="utf-8", errors="backslashreplace", write_through=True
        )
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        text.detach()


def write_npy(target: Path, array: np.ndarray) -> None:
    """Write one array."""
    with replacing(target) as handle:
        np.save(handle, array)


def write_npz(target: Path, **arrays: np.ndarray) -> None:
    """Write several arrays, uncompressed."""
    with replacing(target) as handle:
        np.savez(handle, **dict[str, Any](arrays))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
