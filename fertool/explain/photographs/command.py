"""Photographs of any kind -> their faces -> predictions and explanations -> overlays and a table."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.special import softmax

from fertool.errors import UserError
from fertool.explain.batches import batches, explain_rows
from fertool.explain.explainer import rectify
from fertool.explain.overlay import DOTS_PER_INCH, png_bytes
from fertool.explain.photographs.faces import (
    Crop,
    Framing,
    available_detectors,
    crop_face,
    find_faces,
    read_photograph,
    training_framing,
)
from fertool.explain.photographs.sheet import MapColumn, sheet_figure
from fertool.explain.registry import Request
from fertool.explain.selection import explainable_runs
from fertool.explain.settings import ExplainSettings
from fertool.explain.targets import choose_classes, stored_targets
from fertool.masks.landmarks import face_boxes
from fertool.models import FaceClassifier, load_model
from fertool.runtime.files import replacing
from fertool.runtime.hardware import Compute
from fertool.runtime.progress import progress_bar
from fertool.runtime.worker_pool import WorkerPool, usable_cores
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace

SHOWN_PX = 1200  # the longer side of a photograph in its sheet


@dataclass(frozen=True)
class Photograph:
    """What is kept of a photograph once its faces are found."""

    path: Path
    picture: np.ndarray  # uint8 RGB (h, w, 3), shrunk to what the sheet shows
    scale: float  # of `picture`: its pixels a pixel of the photograph
    boxes: np.ndarray  # (n, 4): x0, y0, x1, y1 around each face's landmarks, in the photograph's pixels
    crops: list[Crop]
    detector: str | None


def explain_photographs(workspace: Workspace, settings: ExplainSettings, compute: Compute) -> Summary:
    """Explain every face in photographs and write a sheet for each photograph and run.

    A sheet, `<photograph's stem>.<run>.<explainer>.png` (several explainers: their names, with dots between),
    lies beside its photograph or in `overlay_dir`. Photographs without a face are named in a note. Raises
    UserError, with nothing written, where a photograph cannot be read, none of them shows a face, two of them
    would have the same sheet, or where `target` or an explainer needs more than a photograph.
    """
    images, target = settings.images, settings.target
    _check_askable(settings.requests, target)
    by_run: dict[str, tuple[Run, list[Request]]] = {}
    for request in settings.requests:
        for run in explainable_runs(workspace, request, settings.runs):
            by_run.setdefault(run.name, (run, []))[1].append(request)
    places = {
        (path, name): _sheet_place(path, name, asked, settings.overlay_dir)
        for path in images
        for name, (_, asked) in by_run.items()
    }
    _check_distinct(places)

    photographs = _find_all(images, training_framing(workspace), workspace.dataset()["image_shape"])
    crops = [crop for photograph in photographs for crop in photograph.crops]
    classes = workspace.dataset()["classes"]
    rows: list[list[str]] = []
    notes = [f"{photograph.path}: no face found" for photograph in photographs if not photograph.crops]
    data = [_describe(photograph) for photograph in photographs]
    for run, asked in by_run.values():
        model = load_model(run.best, compute.device)
        maps, probabilities = _explain_faces(model, run, asked, crops, target, classes, compute)
        start = 0
        for photograph, described in zip(photographs, data, strict=True):
            here = slice(start, start + len(photograph.crops))
            start = here.stop
            if not photograph.crops:
                continue
            columns = [MapColumn(each.name, each.heatmaps[here]) for each in maps]
            figure = sheet_figure(
                photograph.picture,
                photograph.boxes * photograph.scale,
                photograph.crops,
                classes,
                probabilities[here],
                columns,
            )
            place = places[photograph.path, run.name]
            with replacing(place) as handle:
                handle.write(png_bytes(figure, DOTS_PER_INCH))
            notes.append(f"{place}: {len(photograph.crops)} of {photograph.path}")
            described["overlays"].append({"run": run.name, "explainers": [r.key for r in asked],
                                          "file": str(place)})  # fmt: skip
            for number, (face, shares) in enumerate(
                zip(described["faces"], probabilities[here], strict=True), start=1
            ):
                predicted = classes[int(shares.argmax())]
                face["predictions"][run.name] = {
                    "predicted": predicted,
                    "probabilities": dict(zip(classes, shares.tolist(), strict=True)),
                }
                rows.append([photograph.path.name, str(number), run.name, predicted,
                             *(f"{share:.1%}" for share in shares)])  # fmt: skip
    table = Table("faces in photographs", ["photograph", "face", "run", "predicted", *classes], rows)
    return Summary(data={"target": target, "images": data}, tables=[table], notes=notes)


def _check_askable(requests: Sequence[Request], target: str) -> None:
    if target == "label":
        raise UserError("--target label: a face in a photograph has no label; give predicted or a class")
    for request in requests:
        if request.null is not None and request.null.name == "swapped":
            raise UserError(
                f"--explainer {request.key}: takes the map of another face of a split, not of a photograph"
            )


def _sheet_place(path: Path, run: str, requests: Sequence[Request], overlay_dir: Path | None) -> Path:
    explainers = ".".join(request.key for request in requests)
    return (overlay_dir or path.parent) / f"{path.stem}.{run}.{explainers}.png"


def _check_distinct(places: dict[tuple[Path, str], Path]) -> None:
    first_of: dict[Path, Path] = {}
    for (path, _), place in places.items():
        first = first_of.setdefault(place, path)
        if first != path:
            raise UserError(f"{path}: its overlay would overwrite that of {first}; explain them one by one")


def _find_all(images: Sequence[Path], framing: Framing, image_shape: Sequence[int]) -> list[Photograph]:
    """Read photographs, find their faces in worker processes and cut them out.

    Raises UserError where one cannot be read, and where no photograph shows a face.
    """
    for path in images:  # an early word on a wrong name
        if not path.is_file():
            raise UserError(f"{path}: no such file")
    reading: list[np.ndarray] = []

    def read() -> Iterator[np.ndarray]:
        for path in images:
            reading.append(read_photograph(path))
            yield reading[-1]

    found = []
    look = functools.partial(find_faces, available_detectors())
    workers = min(len(images), usable_cores())
    with (
        WorkerPool(workers, "explain fewer photographs at a time, or smaller ones") as pool,
        progress_bar("looking for faces", len(images), "photographs") as bar,
    ):
        for path, (landmarks, detector) in zip(images, pool.in_order(look, read()), strict=True):
            picture = reading.pop(0)
            crops = [crop_face(picture, face, framing, tuple(image_shape)) for face in landmarks]
            scale = min(1.0, SHOWN_PX / max(picture.shape[:2]))
            shown = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            found.append(Photograph(path, shown, scale, face_boxes(landmarks), crops, detector))
            bar.update()
    if not any(photograph.crops for photograph in found):
        which = images[0] if len(images) == 1 else f"{images[0]} and {len(images) - 1} more"
        raise UserError(
            f"{which}: no face found; give a photograph where it is larger, or turned to the front"
        )
    return found


def _explain_faces(
    model: FaceClassifier,
    run: Run,
    requests: Sequence[Request],
    crops: Sequence[Crop],
    target: str,
    classes: list[str],
    compute: Compute,
) -> tuple[list[MapColumn], np.ndarray]:
    """The maps of every request for the faces of `crops`, N in all, and probabilities (N, classes)."""
    faces = np.stack([crop.face for crop in crops])
    boxes = face_boxes(np.stack([crop.landmarks for crop in crops])).astype(np.float32)
    # labels are never asked for
    choose = choose_classes(target, classes, torch.zeros(0, dtype=torch.int64))
    maps: list[MapColumn] = []
    for request in requests:
        of_batches, logits = [], []
        with progress_bar(f"{run.name}: {request.key}", len(faces), "faces") as bar:
            for rows in batches(model, request, len(faces)):
                explanation = explain_rows(model, request, faces, boxes, rows, choose, compute)
                of_batches.append(explanation.heatmaps.float().cpu().numpy())
                logits.append(explanation.logits.float().cpu().numpy())
                bar.update(len(explanation.logits))
        heatmaps = np.concatenate(of_batches)
        for number, of in enumerate(stored_targets(target, classes)):
            raw = heatmaps[:, number]
            if request.null is not None:
                raw = request.null.make(faces, np.arange(len(faces)), raw)
            maps.append(MapColumn(_title(request, of), rectify(raw, request.explainer.negatives)))
            if not request.looks_at_target:
                break  # it is the same map for every class
    return maps, softmax(np.concatenate(logits), axis=1)


def _title(request: Request, target: str) -> str:
    if not request.looks_at_target:
        return f"{request.key}\ntarget ignored"
    return request.key if target == "predicted" else f"{request.key}\nfor {target}"


def _describe(photograph: Photograph) -> dict[str, Any]:
    return {
        "image": str(photograph.path),
        "detector": photograph.detector,
        "faces": [
            {"number": number, "box": box.round(1).tolist(), "crop": list(crop.box), "predictions": {}}
            for number, (box, crop) in enumerate(
                zip(photograph.boxes, photograph.crops, strict=True), start=1
            )
        ],
        "overlays": [],
    }
