"""`fertool explain`: heatmaps of runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fertool.explain.heatmaps import Heatmaps, ensure_heatmaps
from fertool.explain.registry import Request
from fertool.explain.selection import explainable_runs
from fertool.explain.settings import ExplainSettings
from fertool.explain.targets import check_target
from fertool.runtime.files import replacing
from fertool.runtime.hardware import choose_compute
from fertool.runtime.ranks import join_ranks
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace

DEFAULTS = ExplainSettings()


def explain(workspace: Workspace, settings: ExplainSettings = DEFAULTS, *, force: bool = False) -> Summary:
    """Make the heatmaps of each explainer for each run on a split, and the runs' predictions.

    What is up to date is left alone unless `force`. With photographs, their faces are explained instead of a
    split's; see `explain_photographs`. Raises UserError for names that are none, and where there is nothing to
    explain.
    """
    check_target(settings.target, workspace.dataset()["classes"])
    compute = choose_compute(settings.device, settings.precision)
    if settings.images:
        from fertool.explain.photographs.command import explain_photographs

        return join_ranks().broadcast_from_rank0(lambda: explain_photographs(workspace, settings, compute))
    split, gallery = settings.split, settings.gallery
    workspace.check_split(split)
    if gallery is not None:
        workspace.load_region_maps(split)  # an early word if they are missing
    rows, data, notes = [], [], []
    drawn: list[tuple[Run, Request, Heatmaps]] = []
    for request in settings.requests:
        for run in explainable_runs(workspace, request, settings.runs):
            for maps in ensure_heatmaps(
                workspace, run, request, split, settings.target, compute, force=force
            ):
                drawn.append((run, request, maps))
                if maps.record is None:
                    notes.append(f"{maps.path}: made elsewhere, taken as it is")
                    continue
                if not maps.made_now:
                    notes.append(f"{maps.path}: up to date; --force makes it again")
                data.append({"run": run.name, "heatmaps": str(maps.path), **maps.record})
                rows.append(
                    [
                        run.name,
                        request.key,
                        "target ignored" if maps.record["target"] == "ignored" else maps.record["target"],
                        "x".join(map(str, maps.record["grid"])),
                        f"{maps.record['faces']:,}",
                        f"{maps.record['empty']:,}",
                    ]
                )
    figures: dict[str, Any] = {"split": split, "heatmaps": data}
    if gallery is not None:
        faces = join_ranks().broadcast_from_rank0(lambda: _write_gallery(workspace, split, drawn, gallery))
        figures["gallery"] = str(gallery)
        notes.append(f"{gallery}: {faces} faces of {split}, drawn by lot")
    table = Table(f"heatmaps of {split}", ["run", "explainer", "target", "grid", "faces", "empty"], rows)
    return Summary(data=figures, tables=[table], notes=notes)


def _write_gallery(
    workspace: Workspace, split: str, drawn: Sequence[tuple[Run, Request, Heatmaps]], path: Path
) -> int:
    """Draw some faces of a split, chosen by lot, with their maps; how many they are."""
    from fertool.explain.gallery import draw_gallery, draw_lots
    from fertool.explain.overlay import DOTS_PER_INCH, png_bytes

    rows = draw_lots(workspace.load_labels(split), len(workspace.dataset()["classes"]))
    columns = []
    for run, request, maps in drawn:
        target = maps.path.parent.name if request.looks_at_target else "target ignored"
        columns.append((f"{run.name}\n{request.key}\n{target}", run, maps.rectified(rows)))
    figure = draw_gallery(workspace, split, rows, columns)
    with replacing(path) as handle:
        handle.write(png_bytes(figure, DOTS_PER_INCH))
    return len(rows)
