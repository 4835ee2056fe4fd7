"""`fertool masks`: landmarks and region maps of every face of a workspace."""

import importlib.metadata
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.masks.detectors.dlib import dlib_version
from fertool.masks.detectors.mediapipe_model import find_mediapipe_model
from fertool.masks.detectors.small_faces import DLIB, MEDIAPIPE
from fertool.masks.find_landmarks import Detectors
from fertool.masks.making import MaskJob, ensure_masks
from fertool.masks.masks_tables import agreement_notes, lying_notes, masks_tables
from fertool.masks.preview import preview_masks
from fertool.masks.settings import MaskSettings
from fertool.runtime.package_files import INSTALL_DLIB
from fertool.runtime.ranks import join_ranks
from fertool.summary import Summary
from fertool.workspace import Workspace

DEFAULTS = MaskSettings()
NOT_FIGURES = ("made_from", "products")  # keys of masks.json that are no part of the summary


def make_masks(
    workspace: Workspace,
    settings: MaskSettings = DEFAULTS,
    *,
    preview: Path | None = None,
    force: bool = False,
) -> Summary:
    """Find the landmarks of every face of every split and draw its region map.

    Masks that are up to date are left as they are; an interrupted call is gone on with. Nothing of the workspace
    changes before all splits are done.

    Args:
        workspace: where the faces lie.
        settings: detectors, and how far regions are grown.
        preview: a PNG to write a contact sheet to.
        force: make masks again that are up to date.

    Raises:
        UserError: there are no faces, the detector is missing, or MediaPipe's model is neither here nor to be had.
    """
    if preview is not None and preview.suffix.lower() != ".png":
        raise UserError(f"--preview {preview}: give a file that ends in .png")
    job = _job(workspace, settings, force)
    made_now = ensure_masks(job)
    content = workspace.masks_record()
    notes = [] if made_now else ["masks are up to date; --force makes them again"]
    if settings.detector == "auto" and MEDIAPIPE in job.detectors.order and DLIB not in job.detectors.order:
        notes.append(
            f"dlib is not installed, so faces that MediaPipe missed got the mean face; {INSTALL_DLIB} adds it"
        )
    if preview is not None:
        join_ranks().broadcast_from_rank0(lambda: preview_masks(workspace, job.splits, preview))
        notes.append(f"preview: {preview}")
    data = {key: value for key, value in content.items() if key not in NOT_FIGURES}
    # masks of earlier versions do not say which faces lie
    notes += lying_notes(data.get("lying", {})) + agreement_notes(data["agreement"])
    return Summary(data, masks_tables(data), notes)


def _job(workspace: Workspace, settings: MaskSettings, force: bool) -> MaskJob:
    splits = list(workspace.dataset()["splits"])
    synthetic = [
        split for split in splits if settings.detector == "auto" and workspace.holds(workspace.truth(split))
    ]
    dlib = dlib_version()
    order = _detectors_to_try(settings.detector, dlib is not None) if len(synthetic) < len(splits) else ()
    model = join_ranks().broadcast_from_rank0(
        lambda: find_mediapipe_model(settings.mediapipe_model) if MEDIAPIPE in order else None
    )
    recorded: dict[str, Any] = {
        "detector": settings.detector,
        "confidence": settings.confidence,
        "margin_iod": settings.margin,
        "mediapipe": importlib.metadata.version("mediapipe") if model else None,
        "mediapipe_model_sha256": workspace.fingerprint(model) if model else None,
        "dlib": dlib if order and settings.detector != "template" else None,
    }
    detectors = Detectors(order, settings.confidence, model)
    return MaskJob(workspace, settings, splits, synthetic, detectors, recorded, force)


def _detectors_to_try(detector: str, dlib_is_here: bool) -> tuple[int, ...]:
    if detector == "dlib" and not dlib_is_here:
        raise UserError(f"--detector dlib: dlib is not installed; run {INSTALL_DLIB}")
    return {
        "auto": (MEDIAPIPE, DLIB) if dlib_is_here else (MEDIAPIPE,),
        "mediapipe": (MEDIAPIPE,),
        "dlib": (DLIB,),
        "template": (),
    }[detector]
