"""The stage `masks`: landmarks and region maps of every face of a workspace."""

import functools
import importlib.metadata
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.masks.agreement import sampled_agreement
from fertool.masks.detectors.dlib import dlib_version
from fertool.masks.detectors.mediapipe_model import find_mediapipe_model
from fertool.masks.detectors.small_faces import DETECTORS, DLIB, MEDIAPIPE, SYNTHETIC, TEMPLATE
from fertool.masks.detectors.template import mean_face
from fertool.masks.find_landmarks import BATCH_FACES, Detectors, batches_of, find_regions
from fertool.masks.landmarks import face_boxes
from fertool.masks.masks_tables import agreement_notes, masks_tables
from fertool.masks.preview import preview_masks
from fertool.masks.regions import BACKGROUND, REGIONS, face_outline, region_maps
from fertool.masks.settings import MaskSettings
from fertool.runtime.dlib_files import INSTALL_DLIB
from fertool.runtime.files import read_json, write_json, write_npy, write_npz
from fertool.runtime.locks import make_alone
from fertool.runtime.partial_rows import PartialRows
from fertool.runtime.progress import log, progress_bar
from fertool.runtime.ranks import Ranks, join_ranks
from fertool.runtime.worker_pool import WorkerPool, usable_cores
from fertool.summary import Summary
from fertool.workspace import Workspace

# of the masks, and of those of faces that were all synthetic
REVISION = 3
SYNTHETIC_REVISION = 4
DEFAULTS = MaskSettings()
DEALT_FACES = 1024  # at a time to each of several processes
ROWS_AT_ONCE = 1024  # of faces that need no detection

IF_A_WORKER_DIES = "run 'fertool masks' again to go on from where it stopped, with fewer --workers"


def make_masks(
    workspace: Workspace,
    settings: MaskSettings = DEFAULTS,
    *,
    preview: Path | None = None,
    force: bool = False,
) -> Summary:
    """Find the landmarks of every face of every split and draw its region map.

    `preview` is a PNG to write a contact sheet to. What is up to date is left as it is unless `force`; an
    interrupted call is gone on with. Nothing of the workspace changes before all splits are done.

    Raises UserError where there are no faces, the detector is missing, or MediaPipe's model is neither here nor
    to be had.
    """
    if preview is not None and preview.suffix.lower() != ".png":
        raise UserError(f"--preview {preview}: give a file that ends in .png")
    splits = list(workspace.dataset()["splits"])
    synthetic = [split for split in splits if settings.detector == "auto" and workspace.truth(split).exists()]
    dlib = dlib_version()
    order = _detectors_to_try(settings.detector, dlib is not None) if len(synthetic) < len(splits) else ()
    ranks = join_ranks()
    model = ranks.broadcast_from_rank0(
        lambda: find_mediapipe_model(settings.mediapipe_model) if MEDIAPIPE in order else None
    )
    recorded = {
        "detector": settings.detector,
        "confidence": settings.confidence,
        "margin_iod": settings.margin,
        "mediapipe": importlib.metadata.version("mediapipe") if model else None,
        "mediapipe_model_sha256": workspace.fingerprint(model) if model else None,
        "dlib": dlib if order and settings.detector != "template" else None,
    }
    revision = SYNTHETIC_REVISION if len(synthetic) == len(splits) else REVISION
    made_from = workspace.made_from(
        revision, recorded, [path for split in splits for path in _inputs(workspace, split)]
    )
    products = [
        path for split in splits for path in (workspace.region_maps(split), workspace.landmarks(split))
    ]

    def make() -> None:
        detectors = Detectors(order, settings.confidence, model)
        of_each = settings.workers or max(1, usable_cores() // ranks.on_this_machine)
        with WorkerPool(of_each, IF_A_WORKER_DIES, before=ranks.number_here * of_each) as pool:
            partials: dict[str, PartialRows] = {}
            for split in splits:
                if ranks.is_first:
                    inputs = [
                        path for path in _inputs(workspace, split) if path != workspace.faces_csv(split)
                    ]
                    partials[split] = _open_partial(
                        workspace, split, workspace.made_from(revision, recorded, inputs), force=force
                    )
                _fill(
                    workspace,
                    split,
                    partials.get(split),
                    pool,
                    detectors,
                    settings.margin,
                    ranks,
                    known=split in synthetic,
                )

            def finish() -> None:
                both = model and dlib
                codes = {split: partial.arrays["detector"] for split, partial in partials.items()}
                content = {
                    "detectors": {name: code for code, name in enumerate(DETECTORS)},
                    "regions": {name: code for code, name in enumerate(REGIONS)},
                    "settings": recorded,
                    **_counts(workspace, codes),
                    "agreement": sampled_agreement(workspace, partials, pool, detectors) if both else None,
                    "made_from": made_from,
                }
                _publish(workspace, partials, content)

            ranks.broadcast_from_rank0(finish)

    is_current = functools.partial(workspace.is_current, workspace.masks_json, made_from, products)
    made_now = make_alone([workspace.masks_json], is_current, make, force=force)
    content = read_json(workspace.masks_json)
    notes = [] if made_now else ["masks are up to date; --force makes them again"]
    if settings.detector == "auto" and MEDIAPIPE in order and not dlib:
        notes.append("dlib is not installed, so faces that MediaPipe missed got the mean face; "
                     f"{INSTALL_DLIB} adds it")  # fmt: skip
    if preview is not None:
        ranks.broadcast_from_rank0(lambda: preview_masks(workspace, splits, preview))
        notes.append(f"preview: {preview}")
    data = {key: value for key, value in content.items() if key != "made_from"}
    return Summary(data, masks_tables(data), notes + agreement_notes(data["agreement"]))


def _detectors_to_try(detector: str, dlib_is_here: bool) -> tuple[int, ...]:
    if detector == "dlib" and not dlib_is_here:
        raise UserError(f"--detector dlib: dlib is not installed; run {INSTALL_DLIB}")
    return {
        "auto": (MEDIAPIPE, DLIB) if dlib_is_here else (MEDIAPIPE,),
        "mediapipe": (MEDIAPIPE,),
        "dlib": (DLIB,),
        "template": (),
    }[detector]


def _inputs(workspace: Workspace, split: str) -> list[Path]:
    paths = [workspace.faces(split), workspace.faces_csv(split), workspace.truth(split)]
    return [path for path in paths if path.exists()]


def _open_partial(workspace: Workspace, split: str, made_from: dict[str, Any], *, force: bool) -> PartialRows:
    count, height, width = workspace.load_faces(split).shape[:3]
    layout = {
        "landmarks": ((count, 68, 2), "float32"),
        "detector": ((count,), "uint8"),
        "confidence": ((count,), "float32"),
        "regions": ((count, height, width), "uint8"),
    }
    partial = PartialRows(workspace.region_maps(split), layout, made_from)
    if force and partial.done:
        partial.discard()
        partial = PartialRows(workspace.region_maps(split), layout, made_from)
    if partial.done:
        log.info("%s: %d of %d faces were done before", split, partial.done, count)
    return partial


def _fill(
    workspace: Workspace,
    split: str,
    partial: PartialRows | None,
    pool: WorkerPool,
    detectors: Detectors,
    margin: float,
    ranks: Ranks,
    *,
    known: bool,
) -> None:
    """Find the faces of a split; the first of several processes, which alone has `partial`, keeps the rows."""
    faces = workspace.load_faces(split)
    done = ranks.broadcast_from_rank0(lambda: partial.done)
    if known or not detectors.order:
        answers: Iterator[dict[str, np.ndarray]] = iter(())
        if partial is not None and known:
            answers = _from_truth(workspace, split, done, faces, margin)
        elif partial is not None:
            answers = _from_template(done, faces, margin)
    else:
        find = functools.partial(find_regions, detectors, margin)
        if ranks.count == 1:
            answers = pool.in_order(find, batches_of(faces, done, BATCH_FACES))
        else:
            dealt = ranks.in_order(
                batches_of(faces, done, DEALT_FACES),
                lambda some: list(pool.in_order(find, batches_of(some, 0, BATCH_FACES))),
            )
            answers = itertools.chain.from_iterable(dealt)
    with progress_bar(f"masks of {split}", len(faces), "faces", done) as bar:
        for answer in answers:
            partial.append(**answer)
            bar.update(len(answer["detector"]))


def _from_truth(
    workspace: Workspace, split: str, start: int, faces: np.ndarray, margin: float
) -> Iterator[dict[str, np.ndarray]]:
    with np.load(workspace.truth(split)) as truth:
        landmarks = truth["landmarks"].astype(np.float32)
        marks = truth["mark"] if "mark" in truth.files else None
    if landmarks.shape != (len(faces), 68, 2):
        raise UserError(
            f"{workspace.truth(split)}: landmarks {landmarks.shape} do not fit {len(faces)} faces; "
            "run 'fertool prepare synthetic' again"
        )
    for first in range(start, len(faces), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        regions = region_maps(landmarks[rows], faces.shape[1:3], margin)
        if marks is not None:
            regions[marks[rows]] = BACKGROUND  # wherever the mark lies
        yield _found(SYNTHETIC, landmarks[rows], regions)


def _from_template(start: int, faces: np.ndarray, margin: float) -> Iterator[dict[str, np.ndarray]]:
    landmarks = mean_face(faces.shape[1:3])[None]
    regions = region_maps(landmarks, faces.shape[1:3], margin)
    for batch in batches_of(faces, start, ROWS_AT_ONCE):
        yield _found(TEMPLATE, landmarks.repeat(len(batch), 0), regions.repeat(len(batch), 0))


def _found(code: int, landmarks: np.ndarray, regions: np.ndarray) -> dict[str, np.ndarray]:
    count = len(landmarks)
    return {
        "landmarks": landmarks,
        "detector": np.full(count, code, np.uint8),
        "confidence": np.full(count, np.nan, np.float32),
        "regions": regions,
    }


def _counts(workspace: Workspace, detector: dict[str, np.ndarray]) -> dict[str, Any]:
    classes = workspace.dataset()["classes"]

    def count(codes: np.ndarray) -> dict[str, int]:
        return dict(zip(DETECTORS, np.bincount(codes, minlength=len(DETECTORS)).tolist(), strict=True))

    labels = {split: workspace.load_labels(split) for split in detector}
    return {
        "found": {split: count(codes) for split, codes in detector.items()},
        "found_by_class": {
            split: {
                name: count(np.asarray(codes)[labels[split] == label]) for label, name in enumerate(classes)
            }
            for split, codes in detector.items()
        },
    }


def _publish(workspace: Workspace, partials: dict[str, PartialRows], content: dict[str, Any]) -> None:
    # no record while the products change, and parts stay until there is one: a kill in between redoes this
    workspace.masks_json.unlink(missing_ok=True)
    for split, partial in partials.items():
        landmarks = np.asarray(partial.arrays["landmarks"])
        write_npy(workspace.region_maps(split), partial.arrays["regions"])
        write_npz(
            workspace.landmarks(split),
            landmarks=landmarks,
            outline=face_outline(landmarks).astype(np.float32),
            detector=partial.arrays["detector"],
            confidence=partial.arrays["confidence"],
            box=face_boxes(landmarks),
        )
    write_json(workspace.masks_json, content)
    for partial in partials.values():
        partial.discard()
