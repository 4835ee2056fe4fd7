"""The mean face, and pictures warped onto it by their landmarks, so that a pixel is the same place of every face.

The warp is affine in each triangle between landmarks (Cootes, Edwards and Taylor 2001, 'Active appearance models'); the
picture's corners and the middles of its sides stay where they are.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import Delaunay

from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.workspace import Workspace

MOST_FACES = 4000  # that means are over
AT_ONCE = 512  # faces that are warped together
HEAT_SIDE = 48  # pixels of a mean heatmap
FACE_SIDE = 96  # pixels of the mean face's picture
BORDER = np.array([[x, y] for y in (0, 0.5, 1) for x in (0, 0.5, 1) if (x, y) != (0.5, 0.5)])


@dataclass(frozen=True)
class MeanFace:
    """The mean of faces' landmarks, and the faces.

    Args:
        faces: the faces, uint8 (N, H, W) or (N, H, W, 3), memory-mapped.
        rows: those of them that have landmarks of their own, at most MOST_FACES, int64 (n,).
        landmarks: the landmarks of these, as shares of the picture's width and height, (n, 68, 2).
    """

    faces: np.ndarray
    rows: np.ndarray
    landmarks: np.ndarray

    @cached_property
    def mean_landmarks(self) -> np.ndarray:
        """The mean landmarks, 0..1 (68, 2)."""
        mean: np.ndarray = self.landmarks.mean(axis=0)
        return mean

    @cached_property
    def picture(self) -> np.ndarray:
        """The mean of the warped faces, uint8 (FACE_SIDE, FACE_SIDE), grey."""
        total = np.zeros((FACE_SIDE, FACE_SIDE))
        places = self.places(FACE_SIDE)
        for start in range(0, len(self.rows), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            faces = np.asarray(self.faces[self.rows[some]], np.float32)
            grey = faces if faces.ndim == 3 else faces @ np.array([0.299, 0.587, 0.114], np.float32)
            total += warp(grey, places[some]).sum(axis=0)
        return (total / len(self.rows)).round().astype(np.uint8)

    @cached_property
    def heat_places(self) -> np.ndarray:
        """The places of the pixels of mean heatmaps, as `places`, kept."""
        return self.places(HEAT_SIDE)

    def places(self, side: int) -> np.ndarray:
        """The place in each face of each pixel of the mean face, 0..1 float32 (n, side, side, 2)."""
        middles = (np.arange(side) + 0.5) / side
        pixels = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
        triangles = Delaunay(np.concatenate([self.mean_landmarks, BORDER]))
        found = triangles.find_simplex(pixels)
        corners = triangles.simplices[found]  # (P, 3)
        transforms: np.ndarray = triangles.transform[found]
        first = np.einsum("pij,pj->pi", transforms[:, :2], pixels - transforms[:, 2])
        weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1).astype(np.float32)
        border = np.broadcast_to(BORDER, (len(self.rows), *BORDER.shape))
        mesh = np.concatenate([self.landmarks, border], axis=1).astype(np.float32)
        places = sum(weights[:, corner, None] * mesh[:, corners[:, corner]] for corner in range(3))
        return np.asarray(places).reshape(len(self.rows), side, side, 2)


def find_mean_face(workspace: Workspace, split: str) -> MeanFace | None:
    """The mean face of a split; None where masks were not made, or no face has landmarks of its own."""
    if not workspace.landmarks(split).exists():
        return None
    stored = workspace.load_landmarks(split, ["detector", "landmarks"])
    rows = np.flatnonzero(stored["detector"] != TEMPLATE)
    if len(rows) == 0:
        return None
    rows = rows[:: -(-len(rows) // MOST_FACES)]  # evenly, since faces may be sorted by emotion
    faces = workspace.load_faces(split)
    height, width = faces.shape[1:3]
    return MeanFace(faces, rows, stored["landmarks"][rows] / np.array([width, height]))


def warp(pictures: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Pictures or maps (n, h, w) read bilinearly at `places`, 0..1 (n, H, W, 2); float32 (n, H, W)."""
    read = torch.nn.functional.grid_sample(
        torch.from_numpy(np.asarray(pictures, np.float32))[:, None],
        torch.from_numpy(2 * places - 1),
        padding_mode="border",
        align_corners=False,
    )
    return read[:, 0].numpy()
