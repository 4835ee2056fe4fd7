"""Faces that stay in their file, for data sets larger than memory."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

IN_MEMORY_BYTES = 1 << 29  # data sets up to this size are read once and kept on the device
# a read also maps pages around it that are in the system's cache: at most so many bytes
NEIGHBOURHOOD_BYTES = 1 << 16
FORGET_BYTES = 1 << 26


class MappedFaces:
    """The faces uint8 (N, H, W[, 3]) of a split, or `rows` of it; each read is a copy.

    Pages of a memory map count as the process's own memory once they were read. After every 64 MiB the file is mapped
    anew, because a new map has no such pages.
    """

    def __init__(self, faces: np.ndarray, rows: np.ndarray | None = None) -> None:
        self._faces = faces
        self._rows = np.arange(len(faces)) if rows is None else rows
        self._touched_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        rows = self._rows[index]
        faces = np.array(self._faces[rows])
        self._touched_bytes += faces.nbytes + len(faces) * NEIGHBOURHOOD_BYTES
        file = getattr(self._faces, "filename", None)
        if self._touched_bytes > FORGET_BYTES and file is not None:
            self._faces = np.load(file, mmap_mode="r")
            self._touched_bytes = 0
        return faces

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W) or (N, H, W, 3)."""
        return (len(self), *self._faces.shape[1:])

    def part(self, index: slice | np.ndarray) -> "MappedFaces":
        """Some of the faces, still in their file."""
        return MappedFaces(self._faces, self._rows[index])


def face_reader(faces: MappedFaces, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function from rows int64 (B,) to their faces uint8 (B, H, W[, 3]), on the device.

    A small data set is read once, here; of a large one only the rows asked for are read.
    """
    if np.prod(faces.shape, dtype=np.int64) <= IN_MEMORY_BYTES:
        whole = torch.from_numpy(faces[:]).to(device)
        return lambda rows: whole[rows]
    return lambda rows: torch.from_numpy(faces[rows.cpu().numpy()]).to(device)
