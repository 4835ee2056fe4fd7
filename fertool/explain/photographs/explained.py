"""Faces of photographs, explained by one run: probabilities, maps, and each region's share in them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import softmax

from fertool.explain.batches import batches, explain_rows
from fertool.explain.explainer import rectify
from fertool.explain.heatmaps import cam_layer_of
from fertool.explain.interpolation import interpolate
from fertool.explain.registry import Request
from fertool.explain.targets import choose_classes, stored_targets
from fertool.masks.landmarks import face_boxes
from fertool.masks.photographs import Crop
from fertool.masks.regions import REGIONS, region_maps
from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute
from fertool.runtime.progress import progress_bar
from fertool.workspace import Run


@dataclass(frozen=True)
class FaceMaps:
    """One explainer's maps of some faces, for one target.

    `heatmaps` are rectified, (n, h, w); `shares` (n, 6) are the regions' shares in them, nan for an empty map; `layer`
    is the one that a CAM read, empty for other explainers.
    """

    request: Request
    target: str
    layer: str
    heatmaps: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class ExplainedFaces:
    """Some faces with their probabilities (n, classes) and maps."""

    classes: list[str]
    probabilities: np.ndarray
    maps: list[FaceMaps]

    def rows(self, rows: slice) -> "ExplainedFaces":
        """The same of some of the faces."""
        maps = [replace(one, heatmaps=one.heatmaps[rows], shares=one.shares[rows]) for one in self.maps]
        return ExplainedFaces(self.classes, self.probabilities[rows], maps)


def explain_faces(
    model: FaceClassifier,
    run: Run,
    requests: Sequence[Request],
    crops: Sequence[Crop],
    target: str,
    compute: Compute,
) -> ExplainedFaces:
    """Explain the faces of `crops`, n in all.

    Args:
        model: the run's model.
        run: the run.
        requests: explainers with their options.
        crops: the faces, cut out as the data set's.
        target: `predicted`, a class, or `all` classes.
        compute: device and number format.
    """
    classes: list[str] = run.config()["classes"]
    faces, landmarks = np.stack([crop.face for crop in crops]), np.stack([crop.landmarks for crop in crops])
    regions = region_maps(landmarks, faces.shape[1:3])
    boxes = face_boxes(landmarks).astype(np.float32)
    maps: list[FaceMaps] = []
    for request in requests:
        raw, logits = _explain(
            model, f"{run.name}: {request.key}", request, faces, boxes, target, classes, compute
        )
        for number, name in enumerate(stored_targets(target, classes)):
            own = raw[:, number]
            if request.null is not None:
                own = request.null.make(faces, np.arange(len(faces)), own)
            heatmaps = rectify(own, request.explainer.negatives)
            maps.append(
                FaceMaps(
                    request, name, cam_layer_of(run, request), heatmaps, region_shares(heatmaps, regions)
                )
            )
            if not request.looks_at_target:
                break  # it is the same map for every class
    return ExplainedFaces(classes, softmax(logits, axis=1), maps)


def region_shares(heatmaps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The share of each region in rectified maps (n, h, w), float64 (n, 6); nan for a map of zeros.

    share_r = sum(H m_r) / sum(H), H brought bilinearly to the faces' resolution; `regions` are codes (n, H, W).
    """
    heat = interpolate(heatmaps, regions.shape[1:3])
    sums = np.stack([(heat * (regions == code)).sum(axis=(1, 2)) for code in range(len(REGIONS))], axis=1)
    total = heat.sum(axis=(1, 2))[:, None]
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)


def _explain(
    model: FaceClassifier,
    title: str,
    request: Request,
    faces: np.ndarray,
    boxes: np.ndarray,
    target: str,
    classes: list[str],
    compute: Compute,
) -> tuple[np.ndarray, np.ndarray]:
    """Raw maps (n, targets, h, w) and logits (n, classes)."""
    # labels are never asked for
    choose = choose_classes(target, classes, torch.zeros(0, dtype=torch.int64))
    maps, logits = [], []
    with progress_bar(title, len(faces), "faces") as bar:
        for rows in batches(model, request, compute, len(faces)):
            explanation = explain_rows(model, request, faces, boxes, rows, choose, compute)
            maps.append(explanation.heatmaps.float().cpu().numpy())
            logits.append(explanation.logits.float().cpu().numpy())
            bar.update(len(explanation.logits))
    return np.concatenate(maps), np.concatenate(logits)
