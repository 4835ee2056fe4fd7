"""The masks that say where the maps of a split's faces are to lie; they are augmented as the faces are.

A face has a mask of its background (1 there, 0 elsewhere) and one of the rest, or for the form `regions` one of each
region. Behind them comes the mask of void: pixels that augmentation made, which count for nothing. The wanted map comes
last, where a form has one.
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
    "landmarks": lambda _emotions, landmarks, shape: landmark_heatmaps(landmarks, shape),
}
"""The forms with a wanted map: the action units of the label's emotion, or all 68 landmarks."""


@dataclass(frozen=True)
class GuideMasks:
    """A split's guidance in small; `mask_reader` makes masks of it, a batch at a time.

    Attributes:
        regions: region codes, uint8 (N, H, W).
        guided: bool (N,): False for faces that cannot be guided.
        wanted: wanted maps, uint8 (N, H, W), 255 for 1.
    """

    regions: MappedFaces
    guided: np.ndarray
    wanted: MappedFaces | None = None

    def part(self, index: slice | np.ndarray) -> "GuideMasks":
        """The guidance of some of the faces."""
        wanted = None if self.wanted is None else self.wanted.part(index)
        return GuideMasks(self.regions.part(index), self.guided[index], wanted)


def load_guide_masks(
    workspace: Workspace,
    split: str,
    form: str,
    *,
    rows: np.ndarray | None = None,
    placebo_seed: int | None = None,
) -> GuideMasks:
    """The guidance of the faces of a split.

    Faces with the template's landmarks are not guided, nor by `action-units` those whose label's emotion has none.

    Args:
        workspace: where faces and masks lie.
        split: its name.
        form: one of FORMS.
        rows: the faces, in this order (default: all).
        placebo_seed: gives each guided face the regions and landmarks of another guided face, drawn by this seed; the
            action units stay those of its own label.

    Raises:
        UserError: masks are missing or of other faces, or no face of train can be guided (other splits are only
            measured).
    """
    maps = workspace.load_region_maps(split)
    rows = np.arange(len(maps)) if rows is None else rows
    stored = workspace.load_landmarks(split, ["landmarks", "detector"])
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
    sources = rows if placebo_seed is None else rows[_shuffled(guided, placebo_seed, workspace, split)]
    if form in WANTED_MAPS:
        height, width = maps.shape[1:]
        wanted = MappedFaces(
            _wanted_maps(form, emotions, landmarks[sources], (height, width), workspace.root)
        )
    return GuideMasks(MappedFaces(maps, sources), guided, wanted)


def mask_count(form: str) -> int:
    """The number of masks of regions: one for each in the form `regions`, otherwise the background's and the rest's."""
    return len(REGIONS) if form == "regions" else 2


def mask_reader(
    masks: GuideMasks, device: torch.device, count: int = len(REGIONS)
) -> Callable[[Tensor], Tensor]:
    """A function from rows int64 (B,) to their masks float32 (B, M, H, W), on the device.

    The first `count` masks are those of REGIONS in their order, the last of them with all regions that follow it. Then
    come void, which is empty, and the wanted map, 0..1, if there is one.
    """
    regions_of = face_reader(masks.regions, device)
    wanted_of = None if masks.wanted is None else face_reader(masks.wanted, device)
    codes = torch.arange(count + 1, dtype=torch.uint8, device=device)[:, None, None]

    def read(rows: Tensor) -> Tensor:
        covered = (regions_of(rows).clamp(max=count - 1)[:, None] == codes).float()
        if wanted_of is None:
            return covered
        return torch.cat([covered, wanted_of(rows)[:, None] / 255], dim=1)

    return read


def _shuffled(guided: np.ndarray, seed: int, workspace: Workspace, split: str) -> np.ndarray:
    """For each face the number of the face whose masks it is given: never its own for a guided face, else its own."""
    if guided.sum() < 2:
        raise UserError(f"{workspace.root}: --guide-masks shuffled: only one face of '{split}' can be guided")
    # one cycle through all of them: no face is left with its own
    cycle = np.random.default_rng([seed, len(guided)]).permutation(np.flatnonzero(guided))
    sources = np.arange(len(guided))
    sources[cycle] = np.roll(cycle, 1)
    return sources


def _wanted_maps(
    form: str, emotions: Sequence[str], landmarks: np.ndarray, shape: tuple[int, int], folder: Path
) -> np.ndarray:
    """The maps uint8 (N, H, W), 255 for 1; many maps lie in an unnamed file in `folder` that ends with the process."""
    size = (len(landmarks), *shape)
    maps: np.ndarray
    if np.prod(size, dtype=np.int64) > IN_MEMORY_BYTES:
        with tempfile.TemporaryFile(dir=folder) as file:
            maps = np.memmap(file, np.uint8, "w+", shape=size)
    else:
        maps = np.empty(size, dtype=np.uint8)
    for start in range(0, len(maps), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        maps[part] = np.rint(255 * WANTED_MAPS[form](list(emotions[part]), landmarks[part], shape))
    return maps
