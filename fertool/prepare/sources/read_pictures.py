"""Pictures -> faces in one array, read in the order in which they are stored and decoded by threads."""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from fertool.prepare.sources.decode import DEEP, Cut, brightest, decode_face, opencv_silent
from fertool.prepare.sources.limits import refuse_large_picture, refuse_memory
from fertool.prepare.sources.picture_header import PictureHeader, read_header
from fertool.prepare.sources.source_files import SourceFiles
from fertool.runtime.progress import progress_bar

_BATCH_FACES = 256
_BATCH_BYTES = 128 * 2**20
"""The bytes that the files of a batch and their pictures may take; a larger picture is a batch of its own."""


class StoredPicture(NamedTuple):
    """The content of a picture's file, its name in the store, and how messages name it."""

    name: str
    where: str
    data: bytes


class PictureStore(Protocol):
    """Pictures by their names: the files of a source, or the rows of a table that holds them."""

    @property
    def path(self) -> Path:
        """The source."""

    def stored(self, wanted: Mapping[str, object]) -> Iterator[StoredPicture]:
        """The pictures of these names, in the order in which they are quickest read."""


class FileStore:
    """The files of a source as a store of pictures."""

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        self.path = files.path

    def stored(self, wanted: Mapping[str, object]) -> Iterator[StoredPicture]:
        """The files of these names."""
        for name, size_bytes in self._files.sizes.items():
            if name in wanted:
                where = self._files.where(name)
                refuse_large_picture(where, size_bytes)
                yield StoredPicture(name, where, self._files.read(name))


class Place(NamedTuple):
    """A face of a picture: its row in the array, and the part of the picture that it is (None: all of it)."""

    row: int
    cut: Cut | None = None


Places = Mapping[str, Sequence[Place]]
"""The faces of each picture, by its name."""


class FaceToRead(NamedTuple):
    """A face, and the file that it stands in."""

    picture: StoredPicture
    header: PictureHeader
    place: Place

    @property
    def cost_bytes(self) -> int:
        """The bytes that it takes to decode it."""
        return len(self.picture.data) + 4 * self.header.width * self.header.height


def read_pictures(store: PictureStore, places: Places, size: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Faces in one array, and remarks on them.

    Pictures of 16 bits a value that use fewer, all of them together, are scaled by what they use: cameras store 12 bits
    in 16.

    Args:
        store: the pictures.
        places: the faces of each picture.
        size: the side of the faces in pixels.

    Returns:
        uint8 (N, size, size), or (N, size, size, 3) in RGB where one of them has colour; and notes for the user.

    Raises:
        UserError: for a picture that is damaged or too large, and for a box outside its picture.
    """
    count = sum(map(len, places.values()))
    refuse_memory(str(store.path), count * size * size)
    images = np.empty((count, size, size), np.uint8)
    deep: dict[str, Sequence[Place]] = {}
    peak = 0
    with opencv_silent(), _threads() as threads, progress_bar("reading faces", count, "faces") as bar:
        for batch in batches(store, places):
            images = _decode_into(images, batch, threads, DEEP)
            faces = [face for face in batch if may_use_fewer_bits(face.header)]
            deep |= {face.picture.name: places[face.picture.name] for face in faces}
            peak = max([peak, *threads.map(_brightest, faces)])
            bar.update(len(batch))
        used_bits = _bits_of(peak)
        if not deep or used_bits == DEEP:
            return images, ()
        for batch in batches(store, deep):
            images = _decode_into(images, batch, threads, used_bits)
    return images, _scaled_note(len(deep), used_bits)


def find_used_bits(store: PictureStore, places: Places) -> tuple[int, tuple[str, ...]]:
    """How many bits a value the pictures of 16 bits use, all of them together, and a note where that is fewer."""
    count = peak = 0
    with opencv_silent(), _threads() as threads:
        for batch in batches(store, places):
            faces = [face for face in batch if may_use_fewer_bits(face.header)]
            count += len(faces)
            peak = max([peak, *threads.map(_brightest, faces)])
    used_bits = _bits_of(peak) if count else DEEP
    return used_bits, () if used_bits == DEEP else _scaled_note(count, used_bits)


def _bits_of(peak: int) -> int:
    return next(bits for bits in (8, 10, 12, 14, DEEP) if peak < 2**bits)


def _scaled_note(count: int, used_bits: int) -> tuple[str]:
    return (f"{count:,} pictures of {DEEP} bits a value use {used_bits} of them: scaled by these",)


def may_use_fewer_bits(header: PictureHeader) -> bool:
    """Whether a picture has 16 bits a value, of which nothing says how many it uses."""
    return header.bits == DEEP and header.maximum in (None, 2**DEEP - 1)


def _brightest(face: FaceToRead) -> int:
    return brightest(face.picture.data, face.picture.where)


def _decode_into(
    images: np.ndarray, batch: list[FaceToRead], threads: ThreadPoolExecutor, used_bits: int
) -> np.ndarray:
    """Decode a batch into its rows of `images`, which become colour with the first face that is."""

    def decode(face: FaceToRead) -> np.ndarray:
        picture = face.picture
        return decode_face(
            picture.data, face.header, images.shape[1], picture.where, used_bits, face.place.cut
        )

    for face, pixels in zip(batch, threads.map(decode, batch), strict=True):
        images = put(images, face.place.row, pixels, face.picture.where)
    return images


def put(images: np.ndarray, row: int, pixels: np.ndarray, where: str) -> np.ndarray:
    """`images` (N, S, S[, 3]) with a face (S, S[, 3]) in its row; all become colour with the first face that is."""
    if pixels.ndim > images.ndim - 1:
        refuse_memory(where, 4 * images.size)
        images = np.repeat(images[..., None], 3, axis=3)
    images[row] = pixels if pixels.ndim == images.ndim - 1 else pixels[..., None]
    return images


def batches(
    store: PictureStore, places: Places, most_faces: int = _BATCH_FACES
) -> Iterator[list[FaceToRead]]:
    """The faces of a store in batches that fit in memory, each of `most_faces` at most."""
    batch: list[FaceToRead] = []
    cost_bytes = 0
    for face in _faces(store, places):
        if batch and (len(batch) == most_faces or cost_bytes + face.cost_bytes > _BATCH_BYTES):
            yield batch
            batch, cost_bytes = [], 0
        batch.append(face)
        cost_bytes += face.cost_bytes
    if batch:
        yield batch


def _faces(store: PictureStore, places: Places) -> Iterable[FaceToRead]:
    for picture in store.stored(places):
        header = read_header(picture.data, picture.where)
        for place in places[picture.name]:
            yield FaceToRead(picture, header, place)


@contextlib.contextmanager
def _threads() -> Generator[ThreadPoolExecutor]:
    """Threads that on an error let go of the pictures that wait, and on Ctrl-C do not wait for those in hand either."""
    threads = ThreadPoolExecutor()
    try:
        yield threads
    except KeyboardInterrupt:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        threads.shutdown(cancel_futures=True)
        raise
    threads.shutdown()
