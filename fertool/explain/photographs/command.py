"""Photographs of any kind -> their faces -> predictions and explanations -> overlays and a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.explain.overlay import DOTS_PER_INCH, png_bytes
from fertool.explain.photographs.explained import ExplainedFaces, FaceMaps, explain_faces
from fertool.explain.photographs.faces import training_framing
from fertool.explain.photographs.files import check_distinct, find_photographs, sheet_path
from fertool.explain.photographs.reading import Photograph, read_photographs
from fertool.explain.photographs.sheet import MapColumn, sheet_figure
from fertool.explain.registry import Request
from fertool.explain.selection import explainable_runs
from fertool.explain.settings import ExplainSettings
from fertool.masks.regions import REGIONS
from fertool.models import load_run_model
from fertool.runtime.files import replacing
from fertool.runtime.hardware import Compute
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace

NO_SHARE = "-"  # of an empty map


@dataclass(frozen=True)
class RunRequests:
    """A run and the explainers that are asked of it."""

    run: Run
    requests: list[Request]


def explain_photographs(workspace: Workspace, settings: ExplainSettings, compute: Compute) -> Summary:
    """Explain every face in photographs and write a sheet for each photograph and run.

    A sheet, `<photograph's stem>.<run>.<explainer>.png` (several explainers: their names, with dots between),
    lies beside its photograph or in `overlay_dir`. Without runs in the settings the newest one is taken. Photographs
    without a face are named in a note. Raises UserError, with nothing written, where a photograph cannot be read, none
    of them shows a face, two of them would have the same sheet, or where `target` or an explainer needs more than a
    photograph.
    """
    _check_askable(settings.requests, settings.target)
    asked = _runs_to_ask(workspace, settings)
    paths = find_photographs(settings.images, [run.name for run in workspace.runs()])
    sheets = {
        (path, one.run.name): sheet_path(path, one.run.name, one.requests, settings.overlay_dir)
        for path in paths
        for one in asked
    }
    check_distinct((path, sheet) for (path, _), sheet in sheets.items())

    dataset = workspace.dataset()
    photographs = read_photographs(paths, training_framing(workspace), tuple(dataset["image_shape"]))
    notes = [] if settings.runs else [_newest_note(one) for one in asked]
    notes += [note for photograph in photographs for note in _notes(photograph)]
    crops = [crop for photograph in photographs for crop in photograph.crops]
    data = [_describe(photograph) for photograph in photographs]
    predictions, shares = (
        Table("faces in photographs", [*FACE_COLUMNS, "predicted", *dataset["classes"]], []),
        _share_table(),
    )
    for one in asked:
        model = load_run_model(workspace, one.run, compute.device)
        explained = explain_faces(model, one.run, one.requests, crops, settings.target, compute)
        start = 0
        for photograph, described in zip(photographs, data, strict=True):
            faces = explained.rows(slice(start, start := start + len(photograph.crops)))
            if not photograph.crops:
                continue
            sheet = sheets[photograph.path, one.run.name]
            _write_sheet(photograph, faces, sheet)
            notes.append(f"{sheet}: {len(photograph.crops)} of {photograph.path}")
            described["overlays"].append(
                {
                    "run": one.run.name,
                    "explainers": [request.key for request in one.requests],
                    "file": str(sheet),
                }
            )
            _add_figures(described, one.run, faces)
            predictions.rows.extend(_prediction_rows(photograph, one.run, faces))
            shares.rows.extend(_share_rows(photograph, one.run, faces))
    return Summary({"target": settings.target, "images": data}, [predictions, shares], notes)


FACE_COLUMNS = ["photograph", "face", "run"]


def _share_table() -> Table:
    return Table(
        "share of each region in the heatmaps",
        [*FACE_COLUMNS, "explainer", "layer", "target", *REGIONS],
        [],
        ["raw shares of single faces; 'fertool score' sets those of a split beside areas and null maps"],
    )


def _check_askable(requests: Sequence[Request], target: str) -> None:
    if target == "label":
        raise UserError("--target label: a face in a photograph has no label; give predicted or a class")
    for request in requests:
        if request.null is not None and request.null.name == "swapped":
            raise UserError(
                f"--explainer {request.key}: takes the map of another face of a split, not of a photograph"
            )


def _runs_to_ask(workspace: Workspace, settings: ExplainSettings) -> list[RunRequests]:
    """The runs with the explainers that each is asked for: the named runs, or for each explainer the newest."""
    asked: dict[str, RunRequests] = {}
    for request in settings.requests:
        runs = explainable_runs(workspace, request, settings.runs)
        if not settings.runs:
            runs = [max(runs, key=lambda run: (run.run_json.stat().st_mtime_ns, run.name))]
        for run in runs:
            asked.setdefault(run.name, RunRequests(run, [])).requests.append(request)
    return list(asked.values())


def _newest_note(one: RunRequests) -> str:
    explainers = ", ".join(request.key for request in one.requests)
    return f"{one.run.name}: the newest run that {explainers} can explain; --run names another"


def _notes(photograph: Photograph) -> list[str]:
    if not photograph.crops:
        return [f"{photograph.path}: no face found"]
    return [f"{photograph.path}: lies; turned by {90 * photograph.turns} degrees"] if photograph.turns else []


def _write_sheet(photograph: Photograph, faces: ExplainedFaces, path: Path) -> None:
    columns = [MapColumn(_title(maps), maps.heatmaps) for maps in faces.maps]
    figure = sheet_figure(
        photograph.picture,
        photograph.boxes * photograph.scale,
        photograph.crops,
        faces.classes,
        faces.probabilities,
        columns,
    )
    with replacing(path) as handle:
        handle.write(png_bytes(figure, DOTS_PER_INCH))


def _title(maps: FaceMaps) -> str:
    """The heading of a column of maps."""
    if not maps.request.looks_at_target:
        return f"{maps.request.key}\ntarget ignored"
    return maps.request.key if maps.target == "predicted" else f"{maps.request.key}\nfor {maps.target}"


def _describe(photograph: Photograph) -> dict[str, Any]:
    return {
        "image": str(photograph.path),
        "detector": photograph.detector,
        "turned_deg": 90 * photograph.turns,
        "faces": [
            {
                "number": number,
                "box": box.round(1).tolist(),
                "crop": list(crop.box),
                "predictions": {},
                "shares": {},
            }
            for number, (box, crop) in enumerate(
                zip(photograph.boxes, photograph.crops, strict=True), start=1
            )
        ],
        "overlays": [],
    }


def _add_figures(described: dict[str, Any], run: Run, faces: ExplainedFaces) -> None:
    """Add what a run says of each face to the photograph's description."""
    for number, face in enumerate(described["faces"]):
        probabilities = faces.probabilities[number]
        face["predictions"][run.name] = {
            "predicted": faces.classes[int(probabilities.argmax())],
            "probabilities": dict(zip(faces.classes, probabilities.tolist(), strict=True)),
        }
        face["shares"][run.name] = [
            {
                "explainer": maps.request.key,
                "layer": maps.layer,
                "target": maps.target if maps.request.looks_at_target else "ignored",
                "share": _named_shares(maps, number),
            }
            for maps in faces.maps
        ]


def _named_shares(maps: FaceMaps, number: int) -> dict[str, float] | None:
    """Each region's share in a face's map; None for an empty map."""
    shares = maps.shares[number]
    return dict(zip(REGIONS, shares.tolist(), strict=True)) if maps.heatmaps[number].any() else None


def _prediction_rows(photograph: Photograph, run: Run, faces: ExplainedFaces) -> list[list[str]]:
    return [
        [
            photograph.path.name,
            str(number),
            run.name,
            faces.classes[int(probabilities.argmax())],
            *(f"{probability:.1%}" for probability in probabilities),
        ]
        for number, probabilities in enumerate(faces.probabilities, start=1)
    ]


def _share_rows(photograph: Photograph, run: Run, faces: ExplainedFaces) -> list[list[str]]:
    rows = []
    for number in range(len(photograph.crops)):
        for maps in faces.maps:
            shares = _named_shares(maps, number)
            target = maps.target if maps.request.looks_at_target else "target ignored"
            cells = (
                [NO_SHARE] * len(REGIONS) if shares is None else [f"{share:.1%}" for share in shares.values()]
            )
            rows.append(
                [
                    photograph.path.name,
                    str(number + 1),
                    run.name,
                    maps.request.key,
                    maps.layer or "-",
                    target,
                    *cells,
                ]
            )
    return rows
