"""Heatmaps of a run on a split: made in batches, streamed to disk, read again."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from fertool.errors import UserError
from fertool.explain.batches import batches, explain_rows
from fertool.explain.explainer import rectify
from fertool.explain.methods.nulls import Null
from fertool.explain.registry import Request
from fertool.explain.targets import choose_classes, stored_targets
from fertool.models import FaceClassifier, load_model
from fertool.models.predictions import keep_logits, made_elsewhere, model_inputs
from fertool.runtime.files import read_json, write_json
from fertool.runtime.hardware import Compute
from fertool.runtime.locks import make_alone
from fertool.runtime.partial_rows import PartialRows
from fertool.runtime.progress import log, progress_bar
from fertool.runtime.ranks import join_ranks
from fertool.workspace import Run, Workspace

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Heatmaps:
    """The maps of a split for one target, as they are stored."""

    path: Path
    raw: np.ndarray  # float32 (N, h, w), signed, memory-mapped
    negatives: str  # the rule by which negative cells are read
    record: dict[str, Any] | None  # None: made elsewhere
    made_now: bool = False

    def rectified(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The maps without negative cells."""
        return rectify(self.raw[rows], self.negatives)


@dataclass(frozen=True)
class RectifiedMaps:
    """Maps without negative cells, read or made for the rows that are asked for: all may be too many for memory."""

    shape: tuple[int, int, int]  # (N, h, w)
    of_rows: Callable[[np.ndarray], np.ndarray]  # rows (B,) -> maps (B, h, w)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return self.of_rows(np.arange(len(self))[rows])

    def with_heat(self) -> np.ndarray:
        """Which maps are not empty, bool (N,)."""
        starts = range(0, len(self), ROWS_AT_ONCE)
        return np.concatenate([self[start : start + ROWS_AT_ONCE].any(axis=(1, 2)) for start in starts])


def null_maps(null: Null, beside: Heatmaps, faces: np.ndarray) -> RectifiedMaps:
    """A null's maps of a split beside an explainer's, from its faces (N, H, W[, 3]): nothing of them is stored."""

    def of_rows(rows: np.ndarray) -> np.ndarray:
        maps = null.make(faces[rows], rows, beside.raw)
        return rectify(np.asarray(maps, dtype=np.float32), beside.negatives)

    return RectifiedMaps((len(faces), *of_rows(np.arange(1)).shape[1:]), of_rows)


def ensure_heatmaps(
    workspace: Workspace,
    run: Run,
    request: Request,
    split: str,
    target: str,
    compute: Compute,
    *,
    force: bool = False,
) -> list[Heatmaps]:
    """Make a run's heatmaps of a split, and its predictions with them, unless they are up to date.

    One `Heatmaps` for each class where `target` is `all`, else one. Maps and predictions that were made
    elsewhere and put at their place without a record are taken as they are; with `force` such maps make room for
    the run's own. Memory does not grow with the split; an interrupted call goes on where it stopped. Raises
    UserError where maps that were made elsewhere do not fit the split.
    """
    classes = run.config()["classes"]
    targets = stored_targets(target, classes)
    paths = [run.heatmaps(request.key, name, split) for name in targets]
    elsewhere = join_ranks().broadcast_from_rank0(lambda: _find_made_elsewhere(paths, force))
    if elsewhere == paths and not force:
        return [_read_made_elsewhere(path, request, workspace, split) for path in paths]
    if elsewhere and not force:
        # one by one, so that those stay
        of_each = (ensure_heatmaps(workspace, run, request, split, name, compute) for name in targets)
        return [maps for (maps,) in of_each]

    if request.null is not None:
        return [
            _ensure_null(workspace, run, request, split, name, path, compute, force)
            for name, path in zip(targets, paths, strict=True)
        ]
    made_from = _made_from(workspace, run, request, split, compute)
    records = [path.with_suffix(".json") for path in paths]
    wanted = [made_from | {"target": name} for name in targets]
    products = [*paths, run.predictions(split)]

    def current() -> bool:
        return all(
            workspace.is_current(record, of, products) for record, of in zip(records, wanted, strict=True)
        )

    def make() -> None:
        _explain_split(workspace, run, request, split, target, paths, wanted, compute, force)

    made_now = make_alone(paths, current, make, force=force)
    return [_stored(path, made_now=made_now) for path in paths]


def _find_made_elsewhere(paths: list[Path], force: bool) -> list[Path]:
    elsewhere = [path for path in paths if made_elsewhere(path)]
    if force:
        for path in elsewhere:
            log.info("%s: made elsewhere; --force puts the run's own maps in their place", path)
    return elsewhere


def _made_from(
    workspace: Workspace, run: Run, request: Request, split: str, compute: Compute
) -> dict[str, Any]:
    settings = {"explainer": request.key, "precision": compute.precision}
    return workspace.made_from(request.explainer.revision, settings, model_inputs(workspace, run, split))


def _explain_split(
    workspace: Workspace,
    run: Run,
    request: Request,
    split: str,
    target: str,
    paths: list[Path],
    made_from: list[dict[str, Any]],
    compute: Compute,
    force: bool,
) -> None:
    model = load_model(run.best, compute.device)
    classes = run.config()["classes"]
    faces, labels = workspace.load_faces(split), workspace.load_labels(split, classes)
    boxes = workspace.load_boxes(split) if model.needs_boxes else None

    def explain(rows: slice) -> dict[str, np.ndarray]:
        choose = choose_classes(target, classes, torch.from_numpy(labels[rows]))
        explanation = explain_rows(model, request, faces, boxes, rows, choose, compute)
        arrays = {"logits": explanation.logits}
        for number in range(len(paths)):
            arrays[str(number)] = explanation.heatmaps[:, number]
            if explanation.branch_shares is not None:
                arrays[f"{number}.branches"] = explanation.branch_shares[:, number]
        return {name: values.cpu().numpy() for name, values in arrays.items()}

    layout = {
        name: ((len(faces), *values.shape[1:]), "float32") for name, values in explain(slice(0, 1)).items()
    }
    ranks = join_ranks()
    partial = PartialRows(paths[0], layout, {"maps": made_from}) if ranks.is_first else None
    done = ranks.broadcast_from_rank0(lambda: partial.done)
    with progress_bar(f"{run.name}: {request.key}", len(faces), "faces", done=done) as bar:
        for arrays in ranks.in_order(batches(model, request, len(faces), done=done), explain):
            partial.append(**arrays)
            bar.update(len(arrays["logits"]))
    if partial is not None:
        logits = np.array(partial.arrays["logits"])
        keep_logits(workspace, run, split, compute, lambda: logits, force=force)
        _keep(model, run, request, split, paths, made_from, partial, compute)
    ranks.wait()


def _keep(
    model: FaceClassifier,
    run: Run,
    request: Request,
    split: str,
    paths: list[Path],
    made_from: list[dict[str, Any]],
    partial: PartialRows,
    compute: Compute,
) -> None:
    """Make finished rows the files of the workspace."""
    _forget(paths)
    for number, (path, of) in enumerate(zip(paths, made_from, strict=True)):
        partial.keep(str(number), path)
        shares = None
        if f"{number}.branches" in partial.arrays:
            shares = np.array(partial.arrays[f"{number}.branches"])
            partial.keep(f"{number}.branches", run.branch_shares(request.key, path.parent.name, split))
        _describe(path, request, of, compute, _mean_shares(model, shares))
    partial.discard()


def _mean_shares(model: FaceClassifier, shares: np.ndarray | None) -> dict[str, float] | None:
    """The mean share of each view's map in the mass, over faces whose map has any; None without, or with one view."""
    known = None if shares is None else shares[np.isfinite(shares).all(axis=1)]
    if known is None or len(known) == 0:
        return None
    means = known.mean(axis=0, dtype=np.float64)
    names = [f"{number} ({view.sees})" for number, view in enumerate(model.views, start=1)]
    return dict(zip(names, means.tolist(), strict=True))


def _ensure_null(
    workspace: Workspace,
    run: Run,
    request: Request,
    split: str,
    target: str,
    path: Path,
    compute: Compute,
    force: bool,
) -> Heatmaps:
    (beside,) = ensure_heatmaps(workspace, run, request.beside, split, target, compute)
    made_from = workspace.made_from(
        request.null.revision, {"explainer": request.key}, [beside.path, workspace.faces(split)]
    )
    current = functools.partial(workspace.is_current, path.with_suffix(".json"), made_from, [path])

    def make() -> None:
        join_ranks().broadcast_from_rank0(
            lambda: _make_null(workspace, request, split, path, made_from, beside, compute)
        )

    return _stored(path, made_now=make_alone([path], current, make, force=force))


def _make_null(
    workspace: Workspace,
    request: Request,
    split: str,
    path: Path,
    made_from: dict[str, Any],
    beside: Heatmaps,
    compute: Compute,
) -> None:
    faces = workspace.load_faces(split)
    rows = np.arange(len(faces))
    first = request.null.make(faces[:1], rows[:1], beside.raw)
    partial = PartialRows(path, {"maps": ((len(faces), *first.shape[1:]), "float32")}, made_from)
    while partial.done < len(faces):
        batch = slice(partial.done, partial.done + ROWS_AT_ONCE)
        partial.append(maps=request.null.make(faces[batch], rows[batch], beside.raw))
    _forget([path])
    partial.keep("maps", path)
    _describe(path, request, made_from, compute)
    partial.discard()


def _forget(paths: list[Path]) -> None:
    """Leave each map an empty record, until it has its own."""
    # killed before that, what lies there was not made elsewhere, and is made again
    for path in paths:
        write_json(path.with_suffix(".json"), {})


def _describe(
    path: Path,
    request: Request,
    made_from: dict[str, Any],
    compute: Compute,
    branch_shares: dict[str, float] | None = None,
) -> None:
    maps = np.load(path, mmap_mode="r")
    negatives = request.explainer.negatives
    rectified = RectifiedMaps(maps.shape, lambda rows: rectify(maps[rows], negatives))
    write_json(
        path.with_suffix(".json"),
        {
            "explainer": request.key,
            "source": request.null.what if request.null else request.explainer.source,
            "target": path.parent.name if request.looks_at_target else "ignored",
            "grid": list(maps.shape[1:]),
            "negatives": negatives,
            "faces": len(maps),
            "empty": int((~rectified.with_heat()).sum()),
            **({"branch_shares": branch_shares} if branch_shares else {}),
            "precision": compute.precision,
            "made_from": made_from,
        },
    )


def _stored(path: Path, made_now: bool) -> Heatmaps:
    record = read_json(path.with_suffix(".json"))
    return Heatmaps(path, np.load(path, mmap_mode="r"), record["negatives"], record, made_now)


def _read_made_elsewhere(path: Path, request: Request, workspace: Workspace, split: str) -> Heatmaps:
    try:
        maps = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, BadZipFile):
        maps = None
    if not isinstance(maps, np.ndarray) or maps.dtype.kind not in "biuf":
        raise UserError(f"{path}: not a NumPy array of numbers; remove it, or write float32 (N, h, w) there")
    faces = len(workspace.load_faces(split))
    if maps.ndim != 3 or len(maps) != faces:
        raise UserError(
            f"{path}: shape {maps.shape}, but '{split}' needs ({faces}, h, w); remove it or put it right"
        )
    for start in range(0, faces, ROWS_AT_ONCE):
        spoilt = ~np.isfinite(maps[start : start + ROWS_AT_ONCE]).all(axis=(1, 2))
        if spoilt.any():
            raise UserError(
                f"{path}: row {start + spoilt.argmax()} has cells that are no finite number; remove it or put it right"
            )
    return Heatmaps(path, maps, request.explainer.negatives, record=None)
