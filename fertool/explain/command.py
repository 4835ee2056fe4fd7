"""`fertool explain`: heatmaps of runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fertool.explain.empty_maps import empty_notes
from fertool.explain.heatmaps import HeatmapJob, Heatmaps
from fertool.explain.making import ensure_heatmaps
from fertool.explain.selection import explainable_runs
from fertool.explain.settings import ExplainSettings
from fertool.explain.targets import check_target
from fertool.runtime.files import replacing
from fertool.runtime.hardware import choose_compute, keep_freed_memory
from fertool.runtime.ranks import join_ranks
from fertool.summary import Summary, Table
from fertool.workspace import Workspace

DEFAULTS = ExplainSettings()
COLUMNS = ["run", "explainer", "layer", "target", "grid", "faces", "empty"]


def explain(workspace: Workspace, settings: ExplainSettings = DEFAULTS, *, force: bool = False) -> Summary:
    """Make the heatmaps of each explainer for each run on a split, and the runs' predictions.

    Heatmaps that are up to date are left alone unless `force`. With photographs, their faces are explained instead of a
    split's; see `explain_photographs`. Raises UserError for names that are none, and where there is nothing to
    explain.
    """
    check_target(settings.target, workspace.dataset()["classes"])
    compute = choose_compute(settings.device, settings.precision)
    keep_freed_memory()
    if settings.images:
        from fertool.explain.photographs.command import explain_photographs

        return join_ranks().broadcast_from_rank0(lambda: explain_photographs(workspace, settings, compute))
    workspace.check_split(settings.split)
    if settings.gallery is not None:
        workspace.load_region_maps(settings.split)  # an early word if they are missing
    made = [
        maps
        for request in settings.requests
        for run in explainable_runs(workspace, request, settings.runs)
        for maps in ensure_heatmaps(
            HeatmapJob(workspace, run, request, settings.split, settings.target, compute, force)
        )
    ]
    figures: dict[str, Any] = {
        "split": settings.split,
        "heatmaps": [_figures(maps) for maps in made if maps.record],
    }
    notes = [note for maps in made for note in _notes(maps)]
    if settings.gallery is not None:
        path = settings.gallery
        faces = join_ranks().broadcast_from_rank0(
            lambda: _write_gallery(workspace, settings.split, made, path)
        )
        figures["gallery"] = str(path)
        notes.append(f"{path}: {faces} faces of {settings.split}, chosen at random")
    rows = [_row(maps) for maps in made if maps.record]
    return Summary(figures, [Table(f"heatmaps of {settings.split}", COLUMNS, rows)], notes)


def _figures(maps: Heatmaps) -> dict[str, Any]:
    return {"run": maps.run.name, "heatmaps": str(maps.path), **(maps.record or {})}


def _row(maps: Heatmaps) -> list[str]:
    record = maps.record or {}
    return [
        maps.run.name,
        maps.request.key,
        maps.layer or "-",
        maps.shown_target,
        "x".join(map(str, record["grid"])),
        f"{record['faces']:,}",
        f"{record['empty']:,}",
    ]


def _notes(maps: Heatmaps) -> list[str]:
    if maps.record is None:
        return [f"{maps.path}: made elsewhere, taken as it is"]
    if not maps.request.explainer.makes_maps and maps.request.null is None:
        return [f"{maps.path}: imported from {maps.record.get('file', 'elsewhere')}", *empty_notes(maps)]
    up_to_date = [] if maps.made_now else [f"{maps.path}: up to date; --force makes it again"]
    return [*up_to_date, *empty_notes(maps)]


def _write_gallery(workspace: Workspace, split: str, made: Sequence[Heatmaps], path: Path) -> int:
    """Draw some faces of a split, chosen at random, with their maps; return their number."""
    from fertool.explain.gallery import draw_gallery, draw_lots
    from fertool.explain.overlay import DOTS_PER_INCH, png_bytes

    rows = draw_lots(workspace.load_labels(split), len(workspace.dataset()["classes"]))
    columns = [
        (f"{maps.run.name}\n{maps.request.key}\n{maps.shown_target}", maps.run, maps.rectified(rows))
        for maps in made
    ]
    figure = draw_gallery(workspace, split, rows, columns)
    with replacing(path) as handle:
        handle.write(png_bytes(figure, DOTS_PER_INCH))
    return len(rows)
