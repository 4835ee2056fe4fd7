"""Where the maps of a split's faces are to lie: planes of coverage that are augmented as the faces are.

A face has a plane for its background (1 where it is, 0 elsewhere) and one for the rest, or for the form `regions`
one for each region; then one for what augmentation made and counts for nothing, void, and, where the form asks for
one, the map that is wanted.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.masks.action_units import action_unit_maps, has_action_units
from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.masks.landmark_heatmaps import landmark_heatmaps
from fertool.masks.regions import REGIONS
from fertool.train.mapped_faces import IN_MEMORY_BYTES, MappedFaces, face_reader
from fertool.workspace import Workspace

ROWS_AT_ONCE = 1024

WantedMaps = Callable[[list[str], np.ndarray, tuple[int, int]], np.ndarray]
"""Emotions of N faces, landmarks (N, 68, 2), shape (H, W) -> wanted maps float32 (N, H, W), 0..1."""

WANTED_MAPS: dict[str, WantedMaps] = {
    "action-units": action_unit_maps,
    "landmarks": lambda emotions, landmarks, shape: landmark_heatmaps(landmarks, shape),
}
"""The forms that want a map: the action units of the label's emotion, or all 68 landmarks."""


@dataclass(frozen=True)
class GuidePlanes:
    """A split's guidance, small: planes are made of it a batch at a time, by `plane_reader`."""

    regions: MappedFaces  # region codes, uint8 (N, H, W)
    guided: np.ndarray  # bool (N,): False for faces that nothing can be asked of
    wanted: MappedFaces | None = None  # uint8 (N, H, W), 255 for 1

    def part(self, index: slice | np.ndarray) -> "GuidePlanes":
        """Those of some of the faces."""
        wanted = None if self.wanted is None else self.wanted.part(index)
        return GuidePlanes(self.regions.part(index), self.guided[index], wanted)


def load_guide_planes(
    workspace: Workspace,
    split: str,
    form: str,
    *,
    rows: np.ndarray | None = None,
    placebo_seed: int | None = None,
) -> GuidePlanes:
    """The guidance by which a form is asked of the faces of a split, or of `rows` of them, in their order.

    Not guided are faces with the template's landmarks, and by `action-units` those whose label's emotion has
    none. With a seed each guided face is given another guided face's place, drawn by it: that one's regions and
    landmarks; the action units stay those of its own label. Raises UserError where masks are missing or of other
    faces, and where no face of train can be guided: other splits are only measured.
    """
    maps = workspace.load_region_maps(split)
    rows = np.arange(len(maps)) if rows is None else rows
    with np.load(workspace.landmarks(split)) as stored:
        landmarks, guided = stored["landmarks"], stored["detector"][rows] != TEMPLATE
    classes = workspace.dataset()["classes"]
    emotions = [classes[label] for label in workspace.load_labels(split)[rows]]
    wanted = None
    if form == "action-units":
        guided &= np.array([has_action_units(emotion) for emotion in emotions])
    if split == "train" and not guided.any():
        raise UserError(
            f"{workspace.root}: --guide {form}: no face of '{split}' can be guided: all have the template's "
            "landmarks or a label without action units; run 'fertool masks' with another detector, or change the "
            "form"
        )
    places = rows if placebo_seed is None else rows[_shuffled(guided, placebo_seed, workspace, split)]
    if form in WANTED_MAPS:
        wanted = MappedFaces(_wanted_maps(form, emotions, landmarks[places], maps.shape[1:], workspace.root))
    return GuidePlanes(MappedFaces(maps, places), guided, wanted)


def region_planes(form: str) -> int:
    """How many planes the regions have: one each for `regions`, otherwise the background's and the rest's."""
    return len(REGIONS) if form == "regions" else 2


def plane_reader(
    planes: GuidePlanes, device: torch.device, count: int = len(REGIONS)
) -> Callable[[Tensor], Tensor]:
    """What gives the planes float32 (B, P, H, W) of rows int64 (B,), on the device.

    First `count` of REGIONS in their order, the last with all that follow it, then void, which is empty, then the
    wanted map, 0..1, if there is one.
    """
    regions_of = face_reader(planes.regions, device)
    wanted_of = None if planes.wanted is None else face_reader(planes.wanted, device)
    codes = torch.arange(count + 1, dtype=torch.uint8, device=device)[:, None, None]

    def read(rows: Tensor) -> Tensor:
        covered = (regions_of(rows).clamp(max=count - 1)[:, None] == codes).float()
        if wanted_of is None:
            return covered
        return torch.cat([covered, wanted_of(rows)[:, None] / 255], dim=1)

    return read


def _shuffled(guided: np.ndarray, seed: int, workspace: Workspace, split: str) -> np.ndarray:
    """For each face the one whose place it is given: a guided face never its own, the others always."""
    if guided.sum() < 2:
        raise UserError(f"{workspace.root}: --guide-masks shuffled: only one face of '{split}' can be guided")
    # one cycle through all of them: nobody is left with their own
    cycle = np.random.default_rng([seed, len(guided)]).permutation(np.flatnonzero(guided))
    places = np.arange(len(guided))
    places[cycle] = np.roll(cycle, 1)
    return places


def _wanted_maps(
    form: str, emotions: Sequence[str], landmarks: np.ndarray, shape: tuple[int, int], folder: Path
) -> np.ndarray:
    """The maps uint8 (N, H, W), 255 for 1: if they are many in a file of `folder` that nobody sees, and that goes."""
    size = (len(landmarks), *shape)
    if np.prod(size, dtype=np.int64) > IN_MEMORY_BYTES:
        with tempfile.TemporaryFile(dir=folder) as file:
            maps = np.memmap(file, np.uint8, "w+", shape=size)
    else:
        maps = np.empty(size, dtype=np.uint8)
    for start in range(0, len(maps), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        maps[part] = np.rint(255 * WANTED_MAPS[form](list(emotions[part]), landmarks[part], shape))
    return maps
