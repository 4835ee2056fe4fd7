"""Picture files -> faces in one array, read in the order in which they are stored and decoded by threads."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fertool.prepare.sources.decode import DEEP, brightest, decode_face, opencv_silent
from fertool.prepare.sources.limits import refuse_large_picture, refuse_memory
from fertool.prepare.sources.picture_header import PictureHeader, read_header
from fertool.prepare.sources.source_files import SourceFiles
from fertool.runtime.progress import progress_bar

_BATCH_FILES = 256
_BATCH_BYTES = 128 * 2**20
"""The bytes that the files of a batch and their pictures may take; a larger picture is a batch of its own."""


class _Picture(NamedTuple):
    name: str
    where: str
    data: bytes
    header: PictureHeader

    @property
    def cost_bytes(self) -> int:
        return len(self.data) + 4 * self.header.width * self.header.height


def read_pictures(
    files: SourceFiles, rows: Mapping[str, int], size: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Faces in one array, and remarks on them.

    Pictures of 16 bits a value that use fewer, all of them together, are scaled by what they use: cameras store 12 bits
    in 16.

    Args:
        files: the source.
        rows: each picture's file and its row in the array.
        size: the side of the faces in pixels.

    Returns:
        uint8 (N, size, size), or (N, size, size, 3) in RGB where one of them has colour; and notes for the user.

    Raises:
        UserError: for a picture that is damaged or too large.
    """
    refuse_memory(str(files.path), len(rows) * size * size)
    names = [name for name in files.sizes if name in rows]  # in stored order
    images = np.empty((len(names), size, size), np.uint8)
    deep: list[str] = []
    peak = 0
    with opencv_silent(), _threads() as threads, progress_bar("reading faces", len(names), "faces") as bar:
        for batch in _batches(files, names):
            images = _store(images, rows, batch, threads, DEEP)
            pictures = [picture for picture in batch if _may_use_fewer_bits(picture.header)]
            deep += [picture.name for picture in pictures]
            peak = max([peak, *threads.map(_brightest, pictures)])
            bar.update(len(batch))
        used_bits = next(bits for bits in (8, 10, 12, 14, DEEP) if peak < 2**bits)
        if not deep or used_bits == DEEP:
            return images, ()
        for batch in _batches(files, deep):
            images = _store(images, rows, batch, threads, used_bits)
    note = f"{len(deep):,} pictures of {DEEP} bits a value use {used_bits} of them: scaled by these"
    return images, (note,)


def _may_use_fewer_bits(header: PictureHeader) -> bool:
    return header.bits == DEEP and header.maximum in (None, 2**DEEP - 1)


def _brightest(picture: _Picture) -> int:
    return brightest(picture.data, picture.where)


def _store(
    images: np.ndarray,
    rows: Mapping[str, int],
    batch: list[_Picture],
    threads: ThreadPoolExecutor,
    used_bits: int,
) -> np.ndarray:
    """Decode a batch into its rows of `images`, which become colour with the first face that is."""

    def decode(picture: _Picture) -> np.ndarray:
        return decode_face(picture.data, picture.header, images.shape[1], picture.where, used_bits)

    for picture, face in zip(batch, threads.map(decode, batch), strict=True):
        if face.ndim > images.ndim - 1:
            refuse_memory(picture.where, 4 * images.size)
            images = np.repeat(images[..., None], 3, axis=3)
        images[rows[picture.name]] = face if face.ndim == images.ndim - 1 else face[..., None]
    return images


def _batches(files: SourceFiles, names: Iterable[str]) -> Iterator[list[_Picture]]:
    batch: list[_Picture] = []
    cost_bytes = 0
    for name in names:
        where = files.where(name)
        refuse_large_picture(where, files.sizes[name])
        data = files.read(name)
        picture = _Picture(name, where, data, read_header(data, where))
        if batch and (len(batch) == _BATCH_FILES or cost_bytes + picture.cost_bytes > _BATCH_BYTES):
            yield batch
            batch, cost_bytes = [], 0
        batch.append(picture)
        cost_bytes += picture.cost_bytes
    if batch:
        yield batch


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that, on an error or Ctrl-C, finish the pictures in hand and let go of those that wait."""
    threads = ThreadPoolExecutor()
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)
