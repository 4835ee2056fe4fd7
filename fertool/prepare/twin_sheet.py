"""A contact sheet of near twins: where the threshold lies, to be looked at."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fertool.errors import UserError
from fertool.prepare.near_twins import NEAR_CORRELATION, NearPairs, find_near_pairs
from fertool.runtime.contact_sheet import tiled, write_sheet
from fertool.workspace import SPLITS, Workspace

_COLUMNS = 6
_ROWS = 4  # of each band
_SIDE = 96  # pixels of a face
_CAPTION = 16
_GAP = 8
_LIGHT, _DARK = 230, 32


def check_target(target: Path) -> None:
    """Raise UserError for a file that does not end in .png."""
    if target.suffix.lower() != ".png":
        raise UserError(f"--preview-twins {target}: give a file that ends in .png")


def write_twin_sheet(workspace: Workspace, target: Path, pairs: NearPairs | None = None) -> str:
    """Write pairs of a workspace's faces as a PNG and return a note: near twins, then pairs that are not quite.

    The near twins are the least alike first, then some of all; the others are the most alike. `pairs` are the faces'
    of all splits, one after another, where they are known already. Raises UserError where the file cannot be written.
    """
    images = np.concatenate([workspace.load_faces(split) for split in SPLITS])
    names = [f"{split} {row}" for split in SPLITS for row in range(len(workspace.load_faces(split)))]
    pairs = find_near_pairs(images) if pairs is None else pairs
    bands = [
        _band(title, images, names, pairs, chosen)
        for title, chosen in _chosen(pairs.correlations)
        if len(chosen)
    ]
    sheet = np.vstack(bands) if bands else _title(f"no pair correlates by {NEAR_CORRELATION:g} or nearly so")
    write_sheet(target, sheet, "--preview-twins")
    return f"preview: {target}, {len(pairs.near):,} pairs of near twins beyond the identical ones"


def _chosen(correlations: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The pairs that each band shows, and its title."""
    order = np.argsort(correlations, kind="stable")
    above = order[correlations[order] >= NEAR_CORRELATION]
    below = order[correlations[order] < NEAR_CORRELATION][::-1]
    room = _COLUMNS * _ROWS
    yield f"near twins, the least alike first (correlation of detail from {NEAR_CORRELATION:g})", above[:room]
    rest = above[room:]
    yield "near twins, some of the others", rest[:: max(1, -(-len(rest) // room))]
    yield "not near twins, the most alike first", below[:room]


def _band(
    title: str, images: np.ndarray, names: list[str], pairs: NearPairs, chosen: np.ndarray
) -> np.ndarray:
    tiles = []
    for one, other, correlation in zip(*pairs.rows[chosen].T, pairs.correlations[chosen], strict=True):
        faces = np.hstack([_face(images[one]), _face(images[other])])
        caption = np.full((_CAPTION, faces.shape[1], 3), _DARK, np.uint8)
        _write(caption, f"{correlation:.3f} {names[one]} / {names[other]}", 0.32)
        tiles.append(np.pad(np.vstack([caption, faces]), ((0, _GAP), (0, _GAP), (0, 0))))
    return np.vstack([_title(title), tiled(tiles, _COLUMNS)])


def _title(text: str) -> np.ndarray:
    line = np.full((_CAPTION + 12, _COLUMNS * (2 * _SIDE + _GAP), 3), _DARK, np.uint8)
    _write(line, text, 0.5)
    return line


def _write(picture: np.ndarray, text: str, size: float) -> None:
    place = (4, picture.shape[0] - 5)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (_LIGHT,) * 3, 1, cv2.LINE_AA)


def _face(face: np.ndarray) -> np.ndarray:
    """A face in the sheet's size, BGR."""
    bgr = cv2.cvtColor(face, cv2.COLOR_RGB2BGR if face.ndim == 3 else cv2.COLOR_GRAY2BGR)
    return cv2.resize(bgr, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
