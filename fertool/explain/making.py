"""Heatmaps are made where they are missing: explained in batches, streamed to disk, kept beside a record."""

import functools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fertool.explain.batches import batches, explain_rows, was_face_left_alone
from fertool.explain.explainer import LAYER, rectify
from fertool.explain.heatmaps import (
    HeatmapJob,
    Heatmaps,
    RectifiedMaps,
    read_imported,
    read_made_elsewhere,
    read_stored,
    slices,
)
from fertool.explain.methods.nulls import Null
from fertool.explain.targets import choose_classes
from fertool.models import FaceClassifier, load_run_model
from fertool.models.predictions import keep_logits, made_elsewhere, model_inputs
from fertool.models.registry import OWN
from fertool.models.structure.cam_layer import CHOICE_REVISION
from fertool.models.structure.named_layers import views_at
from fertool.runtime.files import write_record
from fertool.runtime.locks import alone, make_alone
from fertool.runtime.partial_rows import PartialRows, partial_folder
from fertool.runtime.progress import log, progress_bar
from fertool.runtime.ranks import join_ranks
from fertool.runtime.reading import read_json

LAYER_CHOICE = "layer_choice"  # key of a record: the revision of the choice of the layer


@dataclass(frozen=True)
class Work:
    """Maps to make, unless they are current."""

    is_current: Callable[[], bool]
    make: Callable[[], None]


def ensure_heatmaps(job: HeatmapJob) -> list[Heatmaps]:
    """Make a run's heatmaps of a split, and its predictions with them, unless they are up to date.

    One `Heatmaps` for each class where the target is `all`, else one. Maps and predictions that were made
    elsewhere and put at their place without a record are taken as they are; with `force` such maps make room for
    the run's own. Memory does not grow with the split; an interrupted call goes on where it stopped. Raises
    UserError where maps that were made elsewhere do not fit the split. Maps of a sample are taken out of those of the
    whole split where these are there.
    """
    if job.sample is not None and join_ranks().broadcast_from_rank0(lambda: _whole_is_there(job)):
        return [replace(maps, raw=job.sampled(maps.raw)) for maps in ensure_heatmaps(job.whole)]
    if job.request.null is None and not job.request.explainer.makes_maps:
        return [read_imported(one) for one in job.for_each_target()]
    elsewhere = join_ranks().broadcast_from_rank0(lambda: _find_made_elsewhere(job))
    if not elsewhere and job.request.null is None:
        return _ensure(job)
    # one by one: maps made elsewhere stay as they are
    return [
        maps
        for path, one in zip(job.paths, job.for_each_target(), strict=True)
        for maps in ([read_made_elsewhere(one)] if path in elsewhere else _ensure(one))
    ]


def _whole_is_there(job: HeatmapJob) -> bool:
    """Whether the whole split has maps, imported, made elsewhere or up to date; a null's are made in no time."""
    if job.request.null is not None or not job.request.explainer.makes_maps:
        return True
    return bool(_find_made_elsewhere(job.whole)) or _explainer_work(job.whole).is_current()


def _find_made_elsewhere(job: HeatmapJob) -> list[Path]:
    """The files of maps that were made elsewhere and stay."""
    elsewhere = [path for path in job.paths if made_elsewhere(path)]
    if not job.force:
        return elsewhere
    for path in elsewhere:
        log.info("%s: made elsewhere; --force puts the run's own maps in their place", path)
    return []


def _ensure(job: HeatmapJob) -> list[Heatmaps]:
    if job.request.null is None:
        work = _explainer_work(job)
    else:
        (beside,) = ensure_heatmaps(replace(job, request=job.request.beside, force=False))
        work = _null_work(job, job.request.null, beside)
    made_now = make_alone(job.paths, work.is_current, work.make, force=job.force)
    if not made_now:
        join_ranks().broadcast_from_rank0(lambda: _forget_partial_rows(job.paths))
    return [read_stored(one, made_now) for one in job.for_each_target()]


def _forget_partial_rows(paths: list[Path]) -> None:
    """Remove the rows that a killed process left beside maps that are up to date by now."""
    left = [path for path in paths if partial_folder(path).exists()]
    if left:
        with alone(left):
            for path in left:
                shutil.rmtree(partial_folder(path), ignore_errors=True)


def _explainer_work(job: HeatmapJob) -> Work:
    made_from = _made_from(job)

    def is_current() -> bool:
        products = [*job.paths, *([] if job.sample else [job.run.predictions(job.split)])]
        as_recorded = all(
            job.workspace.is_current(path.with_suffix(".json"), wanted, products)
            for path, wanted in zip(job.paths, made_from, strict=True)
        )
        return as_recorded and not _layer_moved(job)

    return Work(is_current, lambda: _explain_split(job, made_from))


def _layer_moved(job: HeatmapJob) -> bool:
    """Whether stored maps were read at another layer than a CAM reads now.

    An earlier version chose another one for some architectures, which shows when the network is built; records of now
    name the revision of the choice.
    """
    if not job.request.explainer.reads_cam_layer or _named_layer(job) is not None:
        return False
    records = [read_json(path.with_suffix(".json")) for path in job.paths]
    earlier = [
        record for record in records if LAYER in record and record.get(LAYER_CHOICE) != CHOICE_REVISION
    ]
    # our own networks name their layer
    if not earlier or job.run.config()["model"] in OWN:
        return False
    layers = _layers_read(job, load_run_model(job.workspace, job.run))
    return any(record[LAYER] != layers for record in earlier)


def _layers_read(job: HeatmapJob, model: FaceClassifier) -> str:
    views = views_at(model, _named_layer(job), job.request.key)
    return ", ".join(view.cam_layer for view in views)


def _null_work(job: HeatmapJob, null: Null, beside: Heatmaps) -> Work:
    (path,) = job.paths
    made_from = job.workspace.made_from(
        null.revision, {"explainer": job.request.key}, [beside.path, job.workspace.faces(job.split)]
    )
    is_current = functools.partial(job.workspace.is_current, path.with_suffix(".json"), made_from, [path])
    return Work(
        is_current,
        lambda: join_ranks().broadcast_from_rank0(lambda: _make_null(job, null, beside, made_from)),
    )


def _made_from(job: HeatmapJob) -> list[dict[str, Any]]:
    """The record of each target."""
    settings: dict[str, Any] = {"explainer": job.request.key, "precision": job.compute.precision}
    if job.sample is not None:
        settings["sample"] = job.sample.record
    if was_face_left_alone(job.run, job.request, len(job.faces)):
        # before such a face was repeated, some networks gave it a wrong map: maps without this are made again
        settings["lone_face"] = "repeated"
    made_from = job.workspace.made_from(
        job.request.explainer.revision, settings, model_inputs(job.workspace, job.run, job.split)
    )
    return [made_from | {"target": target} for target in job.targets]


def _explain_split(job: HeatmapJob, made_from: list[dict[str, Any]]) -> None:
    model = load_run_model(job.workspace, job.run, job.compute.device)
    ranks, faces = join_ranks(), job.faces
    explain = _row_explainer(job, model, faces)
    layout = {
        name: ((len(faces), *values.shape[1:]), "float32") for name, values in explain(slice(0, 1)).items()
    }
    partial = PartialRows(job.paths[0], layout, {"maps": made_from}) if ranks.is_first else None
    done = ranks.broadcast_from_rank0(lambda: 0 if partial is None else partial.done)
    with progress_bar(f"{job.run.name}: {job.request.key}", len(faces), "faces", done=done) as bar:
        # only the first process gets rows, and only it has `partial`
        for arrays in ranks.in_order(
            batches(model, job.request, job.compute, len(faces), done=done), explain
        ):
            if partial is not None:
                partial.append(**arrays)
            bar.update(len(arrays["logits"]))
    if partial is not None:
        _keep(job, model, made_from, partial)
    ranks.wait()


def _row_explainer(
    job: HeatmapJob, model: FaceClassifier, faces: np.ndarray
) -> Callable[[slice], dict[str, np.ndarray]]:
    """The function from rows to what is kept of them: logits, and for each target maps and branches' shares."""
    labels = job.sampled(job.workspace.load_labels(job.split, job.classes))
    boxes = job.sampled(job.workspace.load_boxes(job.split)) if model.needs_boxes else None

    def explain(rows: slice) -> dict[str, np.ndarray]:
        choose = choose_classes(job.target, job.classes, torch.from_numpy(labels[rows]))
        explanation = explain_rows(model, job.request, faces, boxes, rows, choose, job.compute)
        arrays = {"logits": explanation.logits}
        for number in range(len(job.targets)):
            arrays[str(number)] = explanation.heatmaps[:, number]
            if explanation.branch_shares is not None:
                arrays[f"{number}.branches"] = explanation.branch_shares[:, number]
        return {name: values.cpu().numpy() for name, values in arrays.items()}

    return explain


def _keep(
    job: HeatmapJob, model: FaceClassifier, made_from: list[dict[str, Any]], partial: PartialRows
) -> None:
    """Make finished rows the files of the workspace."""
    if job.sample is None:
        logits = np.array(partial.arrays["logits"])
        keep_logits(job.workspace, job.run, job.split, job.compute, lambda: logits, force=job.force)
    found: dict[str, Any] = {}
    if job.request.explainer.reads_cam_layer:
        found |= {LAYER: _layers_read(job, model), LAYER_CHOICE: CHOICE_REVISION}
    _empty_records(job.paths)
    for number, (target, path, wanted) in enumerate(zip(job.targets, job.paths, made_from, strict=True)):
        partial.keep(str(number), path)
        products = [path]
        shares = None
        if f"{number}.branches" in partial.arrays:
            shares = np.array(partial.arrays[f"{number}.branches"])
            products.append(job.run.branch_shares(job.request.key, target, job.split, job.sample_name))
            partial.keep(f"{number}.branches", products[-1])
        means = _mean_shares(model, shares)
        write_map_record(job, target, products, wanted, found | ({"branch_shares": means} if means else {}))
    partial.discard()


def _named_layer(job: HeatmapJob) -> str | None:
    layer = job.request.options.get(LAYER)
    return None if layer is None else str(layer)


def _mean_shares(model: FaceClassifier, shares: np.ndarray | None) -> dict[str, float] | None:
    """The mean share of each view's map in the mass, over faces whose map has any; None without, or with one view."""
    known = None if shares is None else shares[np.isfinite(shares).all(axis=1)]
    if known is None or len(known) == 0:
        return None
    means = known.mean(axis=0, dtype=np.float64)
    names = [f"{number} ({view.sees})" for number, view in enumerate(model.views, start=1)]
    return dict(zip(names, means.tolist(), strict=True))


def _make_null(job: HeatmapJob, null: Null, beside: Heatmaps, made_from: dict[str, Any]) -> None:
    (path,), (target,) = job.paths, job.targets
    faces = job.workspace.load_faces(job.split)
    rows = np.arange(len(faces))
    first = null.make(faces[:1], rows[:1], beside.raw)
    shape = (len(faces), *first.shape[1:])
    partial = PartialRows(path, {"maps": (shape, "float32")}, made_from)
    for batch in _rest(shape, partial.done):
        partial.append(maps=null.make(faces[batch], rows[batch], beside.raw))
    _empty_records([path])
    partial.keep("maps", path)
    write_map_record(job, target, [path], made_from, {})
    partial.discard()


def _rest(shape: tuple[int, ...], done: int) -> Iterator[slice]:
    """The rows of each batch, without the first `done`."""
    return (
        slice(max(rows.start, done), rows.stop) for rows in slices(shape) if min(rows.stop, shape[0]) > done
    )


def _empty_records(paths: list[Path]) -> None:
    """Leave each map an empty record until it has its own: after a kill it is not taken for one made elsewhere."""
    for path in paths:
        write_record(path.with_suffix(".json"), {})


def write_map_record(
    job: HeatmapJob, target: str, products: list[Path], made_from: dict[str, Any], found: dict[str, Any]
) -> None:
    """Write the record of the maps of one target.

    Args:
        job: the maps.
        target: the target, a class where the job is for all.
        products: files that the record describes; the first holds the maps.
        made_from: the record of settings and inputs.
        found: further keys.
    """
    path, request = products[0], job.request
    maps = np.load(path, mmap_mode="r")
    negatives = request.explainer.negatives
    rectified = RectifiedMaps(maps.shape, lambda rows: rectify(maps[rows], negatives))
    record = path.with_suffix(".json")
    content = {
        "explainer": request.key,
        "source": request.null.what if request.null else request.explainer.source,
        "target": target if request.looks_at_target else "ignored",
        "grid": list(maps.shape[1:]),
        "negatives": negatives,
        "faces": len(maps),
        "empty": int((~rectified.with_heat()).sum()),
        **found,
        "precision": job.compute.precision,
        "made_from": made_from,
        "products": job.workspace.products(record, products),
    }
    write_record(record, content)
