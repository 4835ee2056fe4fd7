"""Photographs are read, their faces found in worker processes, cut out, and only what is shown is kept."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fertool.errors import UserError
from fertool.explain.photographs.faces import read_photograph
from fertool.masks.landmarks import face_boxes
from fertool.masks.photographs import Crop, Framing, available_detectors, crop_face
from fertool.masks.upright_faces import find_upright_faces
from fertool.runtime.progress import progress_bar
from fertool.runtime.worker_pool import WorkerPool, usable_cores

SHOWN_PX = 1200  # the longer side of a photograph in its sheet


@dataclass(frozen=True)
class Photograph:
    """A photograph once its faces are found.

    Args:
        path: its file.
        picture: uint8 RGB (h, w, 3), turned upright and shrunk to the size that the sheet shows.
        scale: pixels of `picture` a pixel of the photograph.
        boxes: x0, y0, x1, y1 around each face's landmarks, (n, 4), in pixels of the upright photograph.
        crops: the faces, cut out.
        detector: name of the detector; None where no face was found.
        turns: quarter turns, counter-clockwise, that made the faces upright.
    """

    path: Path
    picture: np.ndarray
    scale: float
    boxes: np.ndarray
    crops: list[Crop]
    detector: str | None
    turns: int


def read_photographs(
    paths: Sequence[Path], framing: Framing, image_shape: tuple[int, ...]
) -> list[Photograph]:
    """Read photographs, find their faces and cut them out as the data set's faces are, `image_shape` (H, W[, 3]).

    Raises UserError where one cannot be read, and where no photograph shows a face.
    """
    reading: list[np.ndarray] = []

    def read() -> Iterator[np.ndarray]:
        for path in paths:
            reading.append(read_photograph(path))
            yield reading[-1]

    found = []
    look = functools.partial(find_upright_faces, available_detectors())
    workers = min(len(paths), usable_cores())
    with (
        WorkerPool(workers, "explain fewer photographs at a time, or smaller ones") as pool,
        progress_bar("looking for faces", len(paths), "photographs") as bar,
    ):
        for path, (landmarks, detector, turns) in zip(paths, pool.in_order(look, read()), strict=True):
            picture = np.ascontiguousarray(np.rot90(reading.pop(0), turns))
            crops = [crop_face(picture, face, framing, image_shape) for face in landmarks]
            shown, scale = _shrunk(picture)
            found.append(Photograph(path, shown, scale, face_boxes(landmarks), crops, detector, turns))
            bar.update()
    if not any(photograph.crops for photograph in found):
        which = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        raise UserError(
            f"{which}: no face found; give a photograph where it is larger, or turned to the front"
        )
    return found


def _shrunk(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture with a longer side of at most SHOWN_PX, and the scale."""
    height, width = picture.shape[:2]
    scale = min(1.0, SHOWN_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), scale
