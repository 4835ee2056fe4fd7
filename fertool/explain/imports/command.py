"""`fertool explain --import`: heatmaps and predictions that were made elsewhere become those of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fertool.errors import UserError
from fertool.explain.explainer import Negatives
from fertool.explain.heatmaps import HeatmapJob, Heatmaps, imported_made_from, rows_without_numbers
from fertool.explain.imports.rows import source_rows
from fertool.explain.making import write_map_record
from fertool.explain.methods.imported import imported_name
from fertool.explain.registry import parse_request
from fertool.explain.selection import select_runs
from fertool.explain.targets import EVERY_CLASS, check_target
from fertool.models.predictions import made_elsewhere, read_logits
from fertool.runtime.files import write_npy, write_npz
from fertool.runtime.hardware import choose_compute
from fertool.runtime.locks import alone
from fertool.runtime.reading import damaged, read_npy, read_npz
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace

REPLACE = "--force puts these in its place"
MAPS_REMEDY = "give finite numbers (N, h, w), a map for each face"
LOGITS_REMEDY = "give finite 'logits' (N, classes), and 'labels' if you like"


@dataclass(frozen=True)
class ImportSettings:
    """The options of an import. Raises UserError for combinations that cannot be.

    Args:
        file: an .npy of maps (N, h, w), or an .npz of predictions, `logits` (N, classes) and, if given, `labels` (N,).
        runs: the name of the run that they belong to; it may be left out where there is one run.
        explainer_name: the name of the method that made the maps; None for predictions.
        target: the class that each map explains: `predicted`, `label`, or the name of a class.
        negatives: the reading of negative cells in scores, `drop` or `absolute`.
        ids: a csv whose column `id` names the face of each row; None: rows follow the split.
        split: the split of the faces.
    """

    file: Path
    runs: Sequence[str] = ()
    explainer_name: str | None = None
    target: str = "predicted"
    negatives: str = "drop"
    ids: Path | None = None
    split: str = "test"

    @property
    def of_maps(self) -> bool:
        """Whether the file holds maps, and not predictions."""
        return self.file.suffix == ".npy"

    @property
    def explainer(self) -> str:
        """The explainer of the maps, as `--explainer` takes it."""
        name = imported_name(self.explainer_name or "")
        return name if self.negatives == "drop" else f"{name}@negatives={self.negatives}"

    def __post_init__(self) -> None:
        """Raise UserError for combinations that cannot be."""
        if self.file.suffix not in (".npy", ".npz"):
            raise UserError(f"--import {self.file}: give maps as .npy, or predictions as .npz")
        if self.of_maps and self.explainer_name is None:
            raise UserError(
                f"--import {self.file}: maps need the name of their method; give --explainer-name NAME"
            )
        if not self.of_maps and self.explainer_name is not None:
            raise UserError(f"--import {self.file}: an .npz holds predictions; leave out --explainer-name")
        if self.negatives not in get_args(Negatives):
            raise UserError(f"--negatives {self.negatives}: must be {' or '.join(get_args(Negatives))}")
        if self.of_maps and self.target == EVERY_CLASS:
            raise UserError(
                "--target all: a file holds the maps of one target; name a class, predicted or label"
            )


def settings_of_import(file: Path | None, options: Mapping[str, Any], **more: Any) -> ImportSettings | None:
    """The settings of an import as the command line has them; None without a file.

    Args:
        file: the file of `--import`.
        options: options that are for imports only, None where they are not given.
        more: further settings.

    Raises:
        UserError: one of `options` is given, and no file.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if file is None and given:
        raise UserError(
            f"--{next(iter(given)).replace('_', '-')}: is for maps from elsewhere; give --import FILE too"
        )
    return None if file is None else ImportSettings(file, **given, **more)


def import_results(workspace: Workspace, settings: ImportSettings, *, force: bool = False) -> Summary:
    """Make maps or predictions from elsewhere those of a run, in the order of the split's faces.

    Args:
        workspace: where the run lies.
        settings: the file, and what it holds.
        force: put them in the place of others that are there.

    Returns:
        A table of what is there now, and the line that scores it.

    Raises:
        UserError: there is no such run, or the file does not fit its faces or classes.
    """
    check_target(settings.target, workspace.dataset()["classes"])
    workspace.check_split(settings.split)
    run, *others = select_runs(workspace, settings.runs)
    if others:
        raise UserError(f"--import {settings.file}: is of one run; name it, as --run {run.name}")
    workspace.require_own_faces(run)
    if settings.of_maps:
        return _import_maps(workspace, settings, run, force)
    return _import_predictions(workspace, settings, run, force)


def _import_maps(workspace: Workspace, settings: ImportSettings, run: Run, force: bool) -> Summary:
    request = parse_request(settings.explainer)
    compute = choose_compute("cpu", "fp32")
    job = HeatmapJob(workspace, run, request, settings.split, settings.target, compute)
    maps = read_npy(settings.file, MAPS_REMEDY, shape=(None, None, None), kinds="iuf")
    rows = source_rows(workspace, settings.split, len(maps), settings.ids, settings.file)
    if 0 in maps.shape:
        raise damaged(settings.file, f"maps of shape {maps.shape}, which have no cells", MAPS_REMEDY)
    if (row := rows_without_numbers(maps)) is not None:
        raise damaged(settings.file, f"row {row} has cells that are no finite number", MAPS_REMEDY)
    (path,) = job.paths
    ordered = np.asarray(maps[rows], dtype=np.float32)
    if not force and path.exists() and not np.array_equal(read_npy(path, REPLACE), ordered):
        raise UserError(f"{path}: other maps are there already; --force puts these in their place")
    with alone(job.paths):
        path.with_suffix(".json").unlink(missing_ok=True)
        write_npy(path, ordered)
        made_from = imported_made_from(job)
        write_map_record(job, settings.target, [path], made_from, {"file": settings.file.name})
    stored = Heatmaps(path, run, request, settings.target, ordered, None)
    empty = int((~stored.rectified().any(axis=(1, 2))).sum())
    figures = {
        "run": run.name,
        "explainer": request.key,
        "target": settings.target,
        "split": settings.split,
        "heatmaps": str(path),
        "grid": list(ordered.shape[1:]),
        "negatives": request.explainer.negatives,
        "faces": len(ordered),
        "empty": empty,
    }
    cells = [run.name, request.key, settings.target, "x".join(map(str, ordered.shape[1:]))]
    table = Table(
        f"imported maps of {settings.split}",
        ["run", "explainer", "target", "grid", "faces", "empty"],
        [[*cells, f"{len(ordered):,}", f"{empty:,}"]],
        [
            f"'fertool score --run {run.name} --explainer {request.key} --target {settings.target}' scores them. The "
            "suites sanity and robustness-attention need the function that makes maps."
        ],
    )
    return Summary(figures, [table], [_order(settings)])


def _import_predictions(workspace: Workspace, settings: ImportSettings, run: Run, force: bool) -> Summary:
    stored = read_npz(settings.file, LOGITS_REMEDY)
    classes = run.config()["classes"]
    logits = _logits(stored, settings.file, len(classes))
    rows = source_rows(workspace, settings.split, len(logits), settings.ids, settings.file)
    labels = workspace.load_labels(settings.split, classes)
    given = stored.get("labels")
    if given is not None and not np.array_equal(given[rows] if given.shape == rows.shape else given, labels):
        raise UserError(
            f"{settings.file}: its labels are not those of '{settings.split}'; bring its rows into the order of "
            f"{workspace.faces_csv(settings.split)}, or name their faces with --ids"
        )
    path = run.predictions(settings.split)
    if not force and path.exists():
        whose = "other ones that were imported" if made_elsewhere(path) else "the run's own predictions"
        raise UserError(f"{path}: {whose} are there already; --force puts these in their place")
    with alone([path]):
        path.with_suffix(".json").unlink(missing_ok=True)
        write_npz(path, logits=logits[rows].astype(np.float32), labels=labels)
    accuracy = float((read_logits(workspace, run, settings.split).argmax(axis=1) == labels).mean())
    figures: dict[str, Any] = {
        "run": run.name,
        "split": settings.split,
        "predictions": str(path),
        "faces": len(labels),
        "accuracy": accuracy,
    }
    table = Table(
        f"imported predictions of {settings.split}",
        ["run", "faces", "classes", "accuracy"],
        [[run.name, f"{len(labels):,}", ", ".join(classes), f"{accuracy:.1%}"]],
        ["Their columns are taken to follow the classes in this order."],
    )
    return Summary(figures, [table], [_order(settings)])


def _logits(stored: dict[str, np.ndarray], file: Path, classes: int) -> np.ndarray:
    logits = stored.get("logits")
    if logits is None:
        raise damaged(file, "holds no array 'logits'", LOGITS_REMEDY)
    if logits.ndim != 2 or logits.shape[1] != classes or logits.dtype.kind not in "fiu":
        raise damaged(
            file, f"logits {logits.dtype} {logits.shape} where (N, {classes}) belongs", LOGITS_REMEDY
        )
    spoilt = ~np.isfinite(logits).all(axis=1)
    if spoilt.any():
        raise damaged(file, f"row {int(spoilt.argmax())} has logits that are nan or infinite", LOGITS_REMEDY)
    return logits


def _order(settings: ImportSettings) -> str:
    if settings.ids is None:
        return f"rows are taken to follow faces/{settings.split}.csv; --ids names the face of each row"
    return f"rows were brought into the order of faces/{settings.split}.csv by {settings.ids.name}"
