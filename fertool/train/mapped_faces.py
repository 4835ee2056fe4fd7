"""Faces that stay in their file, for sets larger than memory."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

IN_MEMORY_BYTES = 1 << 29  # sets up to this size are read once and kept on the device
# a read maps a neighbourhood of pages that are in the system's cache anyway, so many bytes at most
NEIGHBOURHOOD_BYTES = 1 << 16
FORGET_BYTES = 1 << 26


class MappedFaces:
    """The faces uint8 (N, H, W[, 3]) of a split, or `rows` of it; each read is a copy.

    Pages of a memory map count as the process's own once they were read. A new map of the same file has none,
    so after every 64 MiB it takes the old one's place.
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
        if self._touched_bytes > FORGET_BYTES and getattr(self._faces, "filename", None) is not None:
            self._faces = np.load(self._faces.filename, mmap_mode="r")
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
    """What gives the faces (B, H, W[, 3]) of rows int64 (B,), on the device.

    A small set is read once, here; of a large one only what is asked for.
    """
    if np.prod(faces.shape, dtype=np.int64) <= IN_MEMORY_BYTES:
        whole = torch.from_numpy(faces[:]).to(device)
        return lambda rows: whole[rows]
    return lambda rows: torch.from_numpy(faces[rows.cpu().numpy()]).to(device)
