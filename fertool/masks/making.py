"""Masks are made where they are missing: split by split into partial rows, then all published at once."""

import functools
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fertool.masks.agreement import sampled_agreement
from fertool.masks.detectors.small_faces import DETECTORS
from fertool.masks.find_landmarks import BATCH_FACES, Detectors, batches_of, find_regions
from fertool.masks.known_landmarks import mean_face_rows, synthetic_rows
from fertool.masks.landmarks import face_boxes, turns_to_upright
from fertool.masks.regions import REGIONS, face_outline
from fertool.masks.settings import MaskSettings
from fertool.runtime.files import write_npy, write_npz, write_record
from fertool.runtime.locks import alone, make_alone
from fertool.runtime.partial_rows import PartialRows, partial_folder
from fertool.runtime.progress import log, progress_bar
from fertool.runtime.ranks import Ranks, join_ranks
from fertool.runtime.worker_pool import WorkerPool, usable_cores
from fertool.workspace import Workspace

REVISION = 3
SYNTHETIC_REVISION = 4  # of masks whose faces are all synthetic
DEALT_FACES = 1024  # at a time to each of several processes
IF_A_WORKER_DIES = "run 'fertool masks' again to go on from where it stopped, with fewer --workers"

Rows = Iterator[dict[str, np.ndarray]]
"""Batches of `landmarks`, `detector`, `confidence` and `regions`, with a row a face."""


@dataclass(frozen=True)
class MaskJob:
    """The masks that are asked for.

    Args:
        workspace: where the faces lie.
        settings: the options.
        splits: every split of the data set.
        synthetic: the splits whose landmarks are known, as they are synthetic.
        detectors: the detectors to try on all other faces.
        recorded: the settings as masks.json holds them.
        force: make masks again that are up to date.
    """

    workspace: Workspace
    settings: MaskSettings
    splits: list[str]
    synthetic: list[str]
    detectors: Detectors
    recorded: dict[str, Any]
    force: bool

    @property
    def revision(self) -> int:
        """The revision of the algorithm."""
        return SYNTHETIC_REVISION if len(self.synthetic) == len(self.splits) else REVISION

    @property
    def products(self) -> list[Path]:
        """The files that masks.json describes."""
        return [
            path
            for split in self.splits
            for path in (self.workspace.region_maps(split), self.workspace.landmarks(split))
        ]

    def made_from(self) -> dict[str, Any]:
        """The record of the masks."""
        inputs = [path for split in self.splits for path in _inputs(self.workspace, split)]
        return self.workspace.made_from(self.revision, self.recorded, inputs)

    def rows_made_from(self, split: str) -> dict[str, Any]:
        """The record of a split's unfinished rows: masks do not depend on labels, which only tables name."""
        labels = self.workspace.faces_csv(split)
        inputs = [path for path in _inputs(self.workspace, split) if path != labels]
        return self.workspace.made_from(self.revision, self.recorded, inputs)


def ensure_masks(job: MaskJob) -> bool:
    """Make the masks unless they are up to date; return whether they were made."""
    made_from, record = job.made_from(), job.workspace.masks_json
    made_now = make_alone(
        [record],
        lambda: job.workspace.is_current(record, made_from, job.products),
        lambda: _make(job, made_from),
        force=job.force,
    )
    if not made_now:
        join_ranks().broadcast_from_rank0(lambda: _forget_partial_rows(job))
    return made_now


def _forget_partial_rows(job: MaskJob) -> None:
    """Remove the rows that a killed process left beside masks that are up to date by now."""
    left = [partial_folder(path) for path in job.products if partial_folder(path).exists()]
    if left:
        with alone([job.workspace.masks_json]):
            for folder in left:
                shutil.rmtree(folder, ignore_errors=True)


def _inputs(workspace: Workspace, split: str) -> list[Path]:
    truth = workspace.truth(split)
    return [workspace.faces(split), workspace.faces_csv(split), *([truth] if workspace.holds(truth) else [])]


def _make(job: MaskJob, made_from: dict[str, Any]) -> None:
    ranks = join_ranks()
    workers = job.settings.workers or max(1, usable_cores() // ranks.on_this_machine)
    with WorkerPool(workers, IF_A_WORKER_DIES, before=ranks.number_here * workers) as pool:
        partials: dict[str, PartialRows] = {}  # only the first of several processes has any
        for split in job.splits:
            if ranks.is_first:
                partials[split] = _open_partial(job, split)
            _fill(job, split, partials.get(split), pool)
        ranks.broadcast_from_rank0(lambda: _publish(job, partials, _content(job, partials, pool), made_from))


def _open_partial(job: MaskJob, split: str) -> PartialRows:
    made_from, target = job.rows_made_from(split), job.workspace.region_maps(split)
    count, height, width = job.workspace.load_faces(split).shape[:3]
    layout = {
        "landmarks": ((count, 68, 2), "float32"),
        "detector": ((count,), "uint8"),
        "confidence": ((count,), "float32"),
        "regions": ((count, height, width), "uint8"),
    }
    partial = PartialRows(target, layout, made_from)
    if job.force and partial.done:
        partial.discard()
        partial = PartialRows(target, layout, made_from)
    if partial.done:
        log.info("%s: %d of %d faces were done before", split, partial.done, count)
    return partial


def _fill(job: MaskJob, split: str, partial: PartialRows | None, pool: WorkerPool) -> None:
    """Find the faces of a split; the first of several processes, which alone has `partial`, keeps the rows."""
    faces, ranks = job.workspace.load_faces(split), join_ranks()
    done = ranks.broadcast_from_rank0(lambda: 0 if partial is None else partial.done)
    with progress_bar(f"masks of {split}", len(faces), "faces", done) as bar:
        for rows in _rows(job, split, faces, done, pool, ranks):
            if partial is not None:
                partial.append(**rows)
            bar.update(len(rows["detector"]))


def _rows(job: MaskJob, split: str, faces: np.ndarray, done: int, pool: WorkerPool, ranks: Ranks) -> Rows:
    """The rows of a split from `done` on, in order; for other processes than the first none."""
    if split in job.synthetic or not job.detectors.order:
        if not ranks.is_first:
            return iter(())
        if split in job.synthetic:
            return synthetic_rows(job.workspace, split, done, job.settings.margin)
        return mean_face_rows(faces, done, job.settings.margin)
    find = functools.partial(find_regions, job.detectors, job.settings.margin)
    if ranks.count == 1:
        return pool.in_order(find, batches_of(faces, done, BATCH_FACES))
    dealt = ranks.in_order(
        batches_of(faces, done, DEALT_FACES),
        lambda some: list(pool.in_order(find, batches_of(some, 0, BATCH_FACES))),
    )
    return itertools.chain.from_iterable(dealt)


def _content(job: MaskJob, partials: dict[str, PartialRows], pool: WorkerPool) -> dict[str, Any]:
    """The content of masks.json, but for the records of inputs and products."""
    codes = {split: np.asarray(partial.arrays["detector"]) for split, partial in partials.items()}
    both = job.recorded["mediapipe"] and job.recorded["dlib"]
    return {
        "detectors": {name: code for code, name in enumerate(DETECTORS)},
        "regions": {name: code for code, name in enumerate(REGIONS)},
        "settings": job.recorded,
        "found": {split: _count(split_codes) for split, split_codes in codes.items()},
        "found_by_class": {
            split: _count_by_class(job, split, split_codes) for split, split_codes in codes.items()
        },
        "lying": {
            split: np.flatnonzero(turns_to_upright(np.asarray(partial.arrays["landmarks"]))).tolist()
            for split, partial in partials.items()
        },
        "agreement": sampled_agreement(job.workspace, partials, pool, job.detectors) if both else None,
    }


def _count_by_class(job: MaskJob, split: str, codes: np.ndarray) -> dict[str, dict[str, int]]:
    labels = job.workspace.load_labels(split)
    classes = job.workspace.dataset()["classes"]
    return {name: _count(codes[labels == label]) for label, name in enumerate(classes)}


def _count(codes: np.ndarray) -> dict[str, int]:
    return dict(zip(DETECTORS, np.bincount(codes, minlength=len(DETECTORS)).tolist(), strict=True))


def _publish(
    job: MaskJob, partials: dict[str, PartialRows], content: dict[str, Any], made_from: dict[str, Any]
) -> None:
    # no record while the products change, and parts stay until there is one: a kill in between redoes this
    record = job.workspace.masks_json
    record.unlink(missing_ok=True)
    for split, partial in partials.items():
        landmarks = np.asarray(partial.arrays["landmarks"])
        write_npy(job.workspace.region_maps(split), partial.arrays["regions"])
        write_npz(
            job.workspace.landmarks(split),
            landmarks=landmarks,
            outline=face_outline(landmarks).astype(np.float32),
            detector=partial.arrays["detector"],
            confidence=partial.arrays["confidence"],
            box=face_boxes(landmarks),
        )
    write_record(
        record,
        {**content, "made_from": made_from, "products": job.workspace.products(record, job.products)},
    )
    for partial in partials.values():
        partial.discard()
