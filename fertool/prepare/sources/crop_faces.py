"""--crop-faces: the face in each picture is found by the landmark detectors and cut out as FER2013's faces are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from fertool.errors import UserError
from fertool.masks.photographs import (
    Framing,
    PhotographDetectors,
    available_detectors,
    find_near_faces,
    framed_square,
    usual_framing,
)
from fertool.prepare.sources.boxes import cut_square
from fertool.prepare.sources.decode import DEEP, decode_picture, finished, opencv_silent
from fertool.prepare.sources.limits import refuse_memory
from fertool.prepare.sources.read_pictures import (
    FaceToRead,
    PictureStore,
    Places,
    batches,
    find_used_bits,
    may_use_fewer_bits,
    put,
)
from fertool.runtime.progress import progress_bar
from fertool.runtime.worker_pool import WorkerPool, usable_cores

_BATCH_FACES = 16
_IF_A_WORKER_DIES = "run 'fertool prepare' again, with smaller pictures"


class FoundFace(NamedTuple):
    """The face of a picture: its row, how many faces the picture shows, and the largest, None where there is none."""

    row: int
    shown: int
    face: np.ndarray | None


class FoundFaces(NamedTuple):
    """Faces uint8 (N, S, S[, 3]), and the number of faces that each one's picture shows, int64 (N,): 0 has no face.

    `remarks` are notes on the pictures.
    """

    images: np.ndarray
    counts: np.ndarray
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The numbers of faces that were found, in words, and the remarks."""
        none, several = int((self.counts == 0).sum()), int((self.counts > 1).sum())
        found = (
            f"faces were looked for in {len(self.counts):,} pictures: {none:,} show none and are left out; {several:,} "
            "show several, and the largest is taken (column faces_found)"
        )
        return found, *self.remarks


def find_and_crop(store: PictureStore, places: Places, size: int, margin: float) -> FoundFaces:
    """Find the face in each picture of a store and cut it out.

    Args:
        store: the pictures.
        places: the row of each picture's face.
        size: the side of the faces in pixels.
        margin: margin around FER2013's framing, in shares of its side.

    Raises:
        UserError: for a picture that is damaged or too large, and where no picture shows a face.
    """
    count = sum(map(len, places.values()))
    refuse_memory(str(store.path), count * size * size)
    images = np.zeros((count, size, size), np.uint8)
    counts = np.zeros(count, np.int64)
    used_bits, remarks = find_used_bits(store, places)
    look = _Look(available_detectors(), usual_framing(), size, margin, used_bits)
    with (
        WorkerPool(min(usable_cores(), count), _IF_A_WORKER_DIES) as pool,
        progress_bar("looking for faces", count, "pictures") as bar,
    ):
        for found in pool.in_order(look, batches(store, places, _BATCH_FACES)):
            for row, faces, face in found:
                counts[row] = faces
                if face is not None:
                    images = put(images, row, face, str(store.path))
            bar.update(len(found))
    if not counts.any():
        raise UserError(f"{store.path}: no picture shows a face that is found; leave --crop-faces out")
    return FoundFaces(images, counts, remarks)


@dataclass(frozen=True)
class _Look:
    """The search in batches of pictures, by processes of their own; arguments as of `find_and_crop`."""

    detectors: PhotographDetectors
    framing: Framing
    size: int
    margin: float
    used_bits: int

    def __call__(self, batch: Sequence[FaceToRead]) -> list[FoundFace]:
        """The face of each picture."""
        with opencv_silent():
            return [self._found(each) for each in batch]

    def _found(self, wanted: FaceToRead) -> FoundFace:
        used_bits = self.used_bits if may_use_fewer_bits(wanted.header) else DEEP
        picture = decode_picture(wanted.picture.data, wanted.header, wanted.picture.where, used_bits)
        seen = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB)
        faces = find_near_faces(self.detectors, seen)
        if not len(faces):
            return FoundFace(wanted.place.row, 0, None)
        left, top, side = framed_square(faces[0], self.framing)
        grown = round(self.margin * side)
        face = cut_square(picture, left - grown, top - grown, side + 2 * grown)
        return FoundFace(wanted.place.row, len(faces), finished(face, self.size))
