"""Files that are whole or not there: what is written goes to a temporary name beside its target and is renamed."""

import contextlib
import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from fertool.runtime.reading import read_csv, read_json

__all__ = [
    "file_sha256",
    "read_csv",
    "read_json",
    "replacing",
    "write_csv",
    "write_json",
    "write_npy",
    "write_npz",
]


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside `target`; on success rename it to `target`, else remove it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle = tempfile.NamedTemporaryFile(  # noqa: SIM115 (closed below, before the rename)
        dir=target.parent, prefix=f".{target.name}.", suffix=".tmp", delete=False
    )
    try:
        with handle:
            yield handle
        Path(handle.name).chmod(0o644)
        Path(handle.name).replace(target)
    except BaseException as error:
        Path(handle.name).unlink(missing_ok=True)
        # of a full disk nobody says where; torch.save has an error of its own beside it
        failed = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(failed, OSError) and failed.filename is None:
            raise OSError(failed.errno, failed.strerror, str(target)) from error
        raise


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON. Raises ValueError for nan, which JSON does not know: None stands for it."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(target) as handle:
        handle.write(text.encode())


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows as CSV."""
    with replacing(target) as handle:
        text = io.TextIOWrapper(handle, newline="", encoding="utf-8", write_through=True)
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
