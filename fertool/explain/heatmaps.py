"""Heatmaps of a run on a split: what is asked for, and what is stored."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.explain.explainer import LAYER, rectify
from fertool.explain.face_sample import FaceSample
from fertool.explain.methods.imported import PREFIX
from fertool.explain.methods.nulls import Null
from fertool.explain.registry import Request
from fertool.explain.targets import stored_targets
from fertool.models.backbones.multiscale import layer_in_words
from fertool.models.predictions import model_inputs
from fertool.runtime.hardware import Compute
from fertool.runtime.reading import damaged, read_json, read_npy
from fertool.workspace import Run, Workspace

MEMORY_BYTES = 64 << 20  # of maps that are looked at together


@dataclass(frozen=True)
class HeatmapJob:
    """The heatmaps that are asked for.

    Args:
        workspace: where faces come from.
        run: the run that is explained.
        request: the explainer with its options, or a null explanation.
        split: the split whose faces are explained.
        target: `predicted`, `label`, a class, or `all` classes.
        compute: device and number format.
        force: make maps again that are up to date, or were made elsewhere.
        sample: the faces of the split that are explained; None for all.
    """

    workspace: Workspace
    run: Run
    request: Request
    split: str
    target: str
    compute: Compute
    force: bool = False
    sample: FaceSample | None = None

    @functools.cached_property
    def whole(self) -> "HeatmapJob":
        """The same maps of all faces of the split."""
        return self if self.sample is None else replace(self, sample=None)

    @property
    def sample_name(self) -> str | None:
        """The sample as names of files have it; None for all faces."""
        return self.sample.name if self.sample is not None else None

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """The values of the faces that are explained, out of those of the whole split, (N, ...)."""
        return values if self.sample is None else values[self.sample.rows]

    @functools.cached_property
    def faces(self) -> np.ndarray:
        """The faces that are explained, as stored, uint8 (n, H, W) or (n, H, W, 3)."""
        return self.sampled(self.workspace.load_faces(self.split))

    @functools.cached_property
    def classes(self) -> list[str]:
        """The run's classes."""
        classes: list[str] = self.run.config()["classes"]
        return classes

    @functools.cached_property
    def targets(self) -> list[str]:
        """The targets whose maps are stored: every class where all are asked for, else one."""
        return stored_targets(self.target, self.classes)

    @functools.cached_property
    def paths(self) -> list[Path]:
        """The file of each target's maps; its record lies beside it."""
        return [
            self.run.heatmaps(self.request.key, target, self.split, self.sample_name)
            for target in self.targets
        ]

    def for_each_target(self) -> "Iterator[HeatmapJob]":
        """A job for each of the targets."""
        return (replace(self, target=target) for target in self.targets)


@dataclass(frozen=True)
class Heatmaps:
    """The maps of a split for one target, as they are stored.

    `raw` is float32 (N, h, w), signed, memory-mapped. `record` is the content of the JSON beside it, None for maps
    that were made elsewhere.
    """

    path: Path
    run: Run
    request: Request
    target: str
    raw: np.ndarray
    record: dict[str, Any] | None
    made_now: bool = False

    @property
    def negatives(self) -> str:
        """The rule by which negative cells are read."""
        recorded: str = (self.record or {}).get("negatives", "")
        return recorded or self.request.explainer.negatives

    @property
    def shown_target(self) -> str:
        """The target as tables show it."""
        return self.target if self.request.looks_at_target else "target ignored"

    @property
    def layer(self) -> str:
        """The layers that a CAM was read at, empty for other explainers."""
        recorded: str = (self.record or {}).get(LAYER, "")
        return recorded or cam_layer_of(self.run, self.request)

    def rectified(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The maps without negative cells."""
        return rectify(self.raw[rows], self.negatives)


@dataclass(frozen=True)
class RectifiedMaps:
    """Maps without negative cells, read or made for the rows that are asked for: all may be too many for memory.

    `shape` is (N, h, w); `make` takes rows (B,) to maps (B, h, w).
    """

    shape: tuple[int, int, int]
    make: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return self.make(np.arange(len(self))[rows])

    def with_heat(self) -> np.ndarray:
        """Whether each map has any heat, bool (N,)."""
        return np.concatenate(
            [self[rows].any(axis=(1, 2)) for rows in slices(self.shape)] or [np.zeros(0, bool)]
        )


def cam_layer_of(run: Run, request: Request) -> str:
    """The layer that the request's explainer reads in a run, as tables show it; empty where it reads none."""
    if request.null is not None or not request.explainer.reads_cam_layer:
        return ""
    return layer_in_words(str(request.options.get(LAYER) or run.config().get("cam_layer", "")))


def slices(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of maps (N, h, w) float32, so many at a time that they take at most MEMORY_BYTES."""
    count = max(1, MEMORY_BYTES // (4 * int(np.prod(shape[1:], dtype=np.int64)) or 1))
    return (slice(start, start + count) for start in range(0, shape[0], count))


def null_maps(null: Null, beside: Heatmaps, faces: np.ndarray) -> RectifiedMaps:
    """A null's maps of a split beside an explainer's, from its faces (N, H, W[, 3]): nothing of them is stored."""

    def make(rows: np.ndarray) -> np.ndarray:
        maps = null.make(faces[rows], rows, beside.raw)
        return rectify(np.asarray(maps, dtype=np.float32), beside.negatives)

    return RectifiedMaps((len(faces), *make(np.arange(1)).shape[1:]), make)


def read_stored(job: HeatmapJob, made_now: bool) -> Heatmaps:
    """The maps of a job for one target. Raises DamagedError where they are not what their record says."""
    (path,), (target,) = job.paths, job.targets
    remedy = job.workspace.remedy(path)
    record = read_json(
        path.with_suffix(".json"), remedy, {"target": str, "grid": list[int], "faces": int, "empty": int}
    )
    job.workspace.require_intact(path.with_suffix(".json"), path)
    maps = read_npy(path, remedy, shape=(record["faces"], *record["grid"]), kinds="f")
    return Heatmaps(path, job.run, job.request, target, maps, record, made_now)


def read_made_elsewhere(job: HeatmapJob) -> Heatmaps:
    """The maps of a job for one target that were put there without a record. Raises UserError where they do not fit."""
    (path,), (target,) = job.paths, job.targets
    remedy = "remove it, or put finite numbers (N, h, w), as float32, in its place"
    maps = read_npy(path, remedy, shape=(len(job.workspace.load_faces(job.split)), None, None), kinds="iuf")
    if 0 in maps.shape[1:]:
        raise damaged(path, f"maps of {maps.shape[1]}x{maps.shape[2]} cells, which are none", remedy)
    if (row := rows_without_numbers(maps)) is not None:
        raise damaged(path, f"row {row} has cells that are no finite number", remedy)
    return Heatmaps(path, job.run, job.request, target, maps, record=None)


def read_imported(job: HeatmapJob) -> Heatmaps:
    """The imported maps of a job for one target. Raises UserError where there are none, or they are of other faces."""
    (path,), (target,) = job.paths, job.targets
    command = (
        f"'fertool explain --import FILE.npy --run {job.run.name} --explainer-name "
        f"{job.request.explainer.name.removeprefix(PREFIX)} --target {target}'"
    )
    if not path.exists():
        raise UserError(
            f"{job.run.folder}: no maps of {job.request.key} for {target} on {job.split}; {command} brings them here"
        )
    if not path.with_suffix(".json").exists():
        return read_made_elsewhere(job)
    job.workspace.require_intact(path.with_suffix(".json"), path)
    if not job.workspace.is_current(path.with_suffix(".json"), imported_made_from(job)):
        raise UserError(
            f"{path}: of other faces or weights than lie here now; {command} --force brings new ones"
        )
    return read_stored(job, made_now=False)


def imported_made_from(job: HeatmapJob) -> dict[str, Any]:
    """The record of imported maps: the faces and the weights that they are of."""
    return job.workspace.made_from(
        1, {"explainer": job.request.key}, model_inputs(job.workspace, job.run, job.split)
    )


def rows_without_numbers(maps: np.ndarray) -> int | None:
    """The first map of (N, h, w) with a cell that is no finite number; None where there is none."""
    for rows in slices(maps.shape):
        spoilt = ~np.isfinite(maps[rows]).all(axis=(1, 2))
        if spoilt.any():
            return rows.start + int(spoilt.argmax())
    return None
