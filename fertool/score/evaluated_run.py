"""An evaluated run: one run on one split, with everything about its faces at hand."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fertool.errors import UserError
from fertool.explain.face_sample import FaceSample
from fertool.explain.heatmaps import HeatmapJob, Heatmaps
from fertool.explain.making import ensure_heatmaps
from fertool.explain.registry import Request
from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.models import FaceClassifier, load_run_model, predict_logits
from fertool.models.predictions import Predict, keep_logits, read_logits
from fertool.runtime.hardware import Compute
from fertool.workspace import Run, Workspace

Figures = dict[str, Any]  # what stands in a suite's JSON
Columns = dict[str, np.ndarray]  # what stands in its CSV: a value a face, (N,)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run and the faces that it is scored on; each array is read once and kept."""

    workspace: Workspace
    run: Run
    split: str
    compute: Compute
    force: bool = False  # make predictions again that are up to date
    sample: FaceSample | None = None  # of the faces scored; None: all of the split
    tries_bfloat16: bool = False  # for pictures that no split holds, see `picture_compute`

    @cached_property
    def whole(self) -> "EvaluatedRun":
        """The same run on all faces of the split."""
        return self if self.sample is None else replace(self, sample=None)

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """The values of the faces scored, out of those of the whole split, (N, ...)."""
        return values if self.sample is None else values[self.sample.rows]

    @cached_property
    def classes(self) -> list[str]:
        """The names of the run's classes, by code."""
        return self.run.config()["classes"]

    @cached_property
    def faces(self) -> np.ndarray:
        """The faces as stored, uint8 (N, H, W) or (N, H, W, 3), memory-mapped."""
        return self.sampled(self.workspace.load_faces(self.split))

    @cached_property
    def labels(self) -> np.ndarray:
        """Class codes, int64 (N,)."""
        return self.sampled(self.workspace.load_labels(self.split, self.classes))

    @cached_property
    def clusters(self) -> np.ndarray:
        """Faces that are not independent share a number, int64 (N,): see `cluster_faces`."""
        return cluster_faces(self.sampled(self.workspace.load_twin_groups(self.split)))

    @cached_property
    def has_twin_in_train(self) -> np.ndarray:
        """Whether an identical face is in the train split of the workspace that the run was trained in, bool (N,)."""
        if self.is_on_other_faces:
            return identical_faces(self.faces, self.run.trained_in.load_faces("train"))
        return self.sampled(twins_in_train(self.workspace, self.split))

    @cached_property
    def has_near_twin_in_train(self) -> np.ndarray | None:
        """Whether a near or identical twin is in train, as in `has_twin_in_train`, bool (N,).

        None where `prepare` did not look for near twins: in synthetic faces, and by earlier versions.
        """
        groups = self.workspace.load_near_twin_groups(self.split)
        in_train = self.run.trained_in.load_near_twin_groups("train")
        if groups is None or in_train is None:
            return None
        if self.is_on_other_faces:
            trained_on, faces = self.run.trained_in.faces("train"), self.workspace.faces(self.split)
            content = (self.run.trained_in.fingerprint(trained_on), self.workspace.fingerprint(faces))
            return self.has_twin_in_train | self.sampled(_near_faces(trained_on, faces, content))
        if self.split == "train":
            return np.zeros(len(self.faces), dtype=bool)
        return np.isin(self.sampled(groups), in_train[in_train >= 0])

    @property
    def is_on_other_faces(self) -> bool:
        """Whether the faces are those of another workspace than the one that the run was trained in."""
        return self.run.results != self.run.folder

    @cached_property
    def region_maps(self) -> np.ndarray:
        """Region codes, uint8 (N, H, W), memory-mapped."""
        return self.sampled(self.workspace.load_region_maps(self.split))

    @cached_property
    def landmarks(self) -> np.ndarray:
        """68 landmarks of each face in pixels, float32 (N, 68, 2)."""
        return self.sampled(self.workspace.load_landmarks(self.split, ["landmarks"])["landmarks"])

    @cached_property
    def boxes(self) -> np.ndarray | None:
        """Where the faces lie, float32 (N, 4) as `Workspace.load_boxes`; None where the model does not ask."""
        return self.sampled(self.workspace.load_boxes(self.split)) if self.model.needs_boxes else None

    @cached_property
    def located(self) -> np.ndarray:
        """Whether landmarks were found, bool (N,): a template's lie where faces mostly are, not where this is."""
        return self.sampled(self.workspace.load_landmarks(self.split, ["detector"])["detector"]) != TEMPLATE

    def located_rows(self) -> np.ndarray:
        """The rows of the faces with landmarks of their own, int64 (n,), n > 0. Raises UserError for none."""
        rows = np.flatnonzero(self.located)
        if not len(rows):
            raise UserError("; ".join(no_landmarks(self.workspace, self.split, self.sample)))
        return rows

    @cached_property
    def model(self) -> FaceClassifier:
        """The run's best epoch, in evaluation mode, on the device."""
        if self.sample is not None:
            return self.whole.model
        # weights loaded in inference mode could not be differentiated through later
        with torch.inference_mode(False):
            return load_run_model(self.workspace, self.run, self.compute.device)

    @cached_property
    def logits(self) -> np.ndarray:
        """The run's logits, float32 (N, C), made now unless those stored are up to date or made elsewhere.

        They are made and stored for all faces of the split, also where a sample is scored.
        """
        if self.sample is not None:
            return self.sampled(self.whole.logits)
        return self.stored_logits(lambda: predict_logits(self.model, self.faces, self.compute, self.boxes))

    def stored_logits(self, predict: Predict, tta: str | None = None) -> np.ndarray:
        """The logits of the whole split with a test-time augmentation, made by `predict` unless up to date."""
        keep_logits(self.workspace, self.run, self.split, self.compute, predict, tta=tta, force=self.force)
        return read_logits(self.workspace, self.run, self.split, tta)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The predicted class codes, int64 (N,)."""
        return self.logits.argmax(axis=1)

    def heatmaps(self, request: Request, target: str) -> Heatmaps:
        """The run's heatmaps by an explainer, made now unless they, or those of the whole split, are up to date."""
        job = HeatmapJob(
            self.workspace, self.run, request, self.split, target, self.compute, sample=self.sample
        )
        (heatmaps,) = ensure_heatmaps(job)
        return heatmaps


def no_landmarks(workspace: Workspace, split: str, sample: FaceSample | None) -> tuple[str, str]:
    """Where no face that is scored has landmarks of its own: the words that say so, and those that say what to do."""
    remedy = "run 'fertool masks' with another detector"
    return (
        f"{workspace.root}: no face of '{split}' that is scored has landmarks of its own",
        remedy if sample is None else f"score more --faces, or {remedy}",
    )


@lru_cache(maxsize=1)
def _near_faces(trained_on: Path, faces: Path, _content: tuple[str, str]) -> np.ndarray:
    """`near_faces` of two files, found once for all runs of a call, whose content has these hashes."""
    from fertool.prepare.near_twins import near_faces

    return near_faces(np.load(faces, mmap_mode="r"), np.load(trained_on, mmap_mode="r"))


def twins_in_train(workspace: Workspace, split: str) -> np.ndarray:
    """Whether an identical face is in the workspace's own train split, bool (N,); of train itself none has one."""
    groups = workspace.load_twin_groups(split)
    if split == "train":
        return np.zeros(len(groups), dtype=bool)
    in_train = workspace.load_twin_groups("train")
    return np.isin(groups, in_train[in_train >= 0])


def identical_faces(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The faces that have all their pixels in common with one of the others, bool (N,).

    Both are uint8 (N, H, W[, 3]); a colour picture whose three channels are equal is the grey one. Faces of another
    size are never identical.
    """
    digests = set(_digests(others)) if faces.shape[1:3] == others.shape[1:3] else set()
    return np.array([digest in digests for digest in _digests(faces)], dtype=bool)


def _digests(faces: np.ndarray) -> Iterator[bytes]:
    for face in faces:
        grey = face.ndim == 3 and (face == face[..., :1]).all()
        yield hashlib.blake2b((face[..., 0] if grey else face).tobytes(), digest_size=16).digest()


def cluster_faces(twin_groups: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, ... that identical twins share, int64 (N,), from twin groups (N,), -1 for a face alone."""
    alone = twin_groups < 0
    groups = np.where(alone, twin_groups.max(initial=0) + np.cumsum(alone), twin_groups)
    return np.unique(groups, return_inverse=True)[1]
