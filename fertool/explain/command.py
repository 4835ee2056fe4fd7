"""`fertool explain`: heatmaps of runs."""

from collections.abc import Sequence
from pathlib import Path

from fertool.errors import UserError
from fertool.explain.heatmaps import Heatmaps, ensure_heatmaps
from fertool.explain.registry import DEFAULT_EXPLAINER, Request, parse_request
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.runtime.files import replacing
from fertool.runtime.hardware import choose_compute
from fertool.runtime.ranks import join_ranks
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace


def explain(
    workspace: Workspace,
    explainers: Sequence[str] = (DEFAULT_EXPLAINER,),
    *,
    runs: Sequence[str] = (),
    split: str = "test",
    target: str = "predicted",
    device: str = "auto",
    precision: str = "fp32",
    force: bool = False,
    images: Sequence[Path] = (),
    overlay_dir: Path | None = None,
    gallery: Path | None = None,
) -> Summary:
    """Make the heatmaps of each explainer for each run on a split, and the runs' predictions.

    Explainers are names with options, as `rollout@discard=0.9`. `target` is predicted, label, a class, or
    all classes. Without `runs`, all finished runs that the explainer can explain. What is up to date is left
    alone. `gallery` is a PNG to draw some of the faces with their maps in. With `images`, photographs of any
    kind, their faces are explained instead of a split's, and drawn beside each photograph, or in
    `overlay_dir`; see `explain_photographs`. Raises UserError for names that are none, and where there is
    nothing to explain.
    """
    requests = [parse_request(text) for text in explainers]
    check_target(target, workspace.dataset()["classes"])
    _check_pictures(images, overlay_dir, gallery)
    compute = choose_compute(device, precision)
    if images:
        from fertool.explain.photographs.command import explain_photographs

        return join_ranks().broadcast_from_rank0(
            lambda: explain_photographs(
                workspace,
                requests,
                images,
                runs=runs,
                target=target,
                overlay_dir=overlay_dir,
                compute=compute,
            )
        )
    workspace.check_split(split)
    if gallery is not None:
        workspace.load_region_maps(split)  # an early word if they are missing
    rows, data, notes = [], [], []
    drawn: list[tuple[Run, Request, Heatmaps]] = []
    for request in requests:
        for run in explainable_runs(workspace, request, runs):
            for maps in ensure_heatmaps(workspace, run, request, split, target, compute, force=force):
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
    figures = {"split": split, "heatmaps": data}
    if gallery is not None:
        faces = join_ranks().broadcast_from_rank0(lambda: _write_gallery(workspace, split, drawn, gallery))
        figures["gallery"] = str(gallery)
        notes.append(f"{gallery}: {faces} faces of {split}, drawn by lot")
    table = Table(f"heatmaps of {split}", ["run", "explainer", "target", "grid", "faces", "empty"], rows)
    return Summary(data=figures, tables=[table], notes=notes)


def _check_pictures(images: Sequence[Path], overlay_dir: Path | None, gallery: Path | None) -> None:
    if gallery is not None and images:
        raise UserError(f"--gallery {gallery}: draws faces of a split; leave it out, or --image")
    if gallery is not None and gallery.suffix.lower() != ".png":
        raise UserError(f"--gallery {gallery}: give a file that ends in .png")
    if overlay_dir is not None and not images:
        raise UserError(f"--overlay-dir {overlay_dir}: is for photographs; give --image FILE too")


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
