"""Damaged and forged files of a finished workspace: what was written, or one line; never other content in silence.

    python tests/torture/fuzz_workspace.py [--rounds 15000] [--seed 0] [--show]

Every round damages one file (dataset.json, faces, masks, run.json, predictions, heatmaps, scores) by its own seed: its
bytes, a value of its JSON, the header of its .npy, a member of its .npz. All that read it must then refuse it in one
line or give what they gave before. Every third round takes the hash of the file out of its record, as records of
earlier versions have none: then readers may give other content, and still nothing but content or one line.
"""

import atexit
import json
import random
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fertool.errors import UserError
from fertool.explain.heatmaps import HeatmapJob, read_stored
from fertool.explain.registry import parse_request
from fertool.models.predictions import read_logits
from fertool.runtime.files import write_record
from fertool.runtime.hardware import choose_compute
from fertool.runtime.reading import RECORD_HASH, read_csv, read_json
from fertool.score.results.face_csv import read_columns
from fertool.score.results.freshness import is_outdated
from fertool.workspace import Run, Workspace
from fertool.workspace_check import check_workspace
from tests.processes.rounds import run_rounds
from tests.torture.fuzz_weights import damaged, repacked

ARCHIVE = Path(__file__).resolve().parents[1] / "workspace_before.tar.xz"
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-workspace-"))
atexit.register(shutil.rmtree, FOLDER, True)
ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**70,
    1e308,
    "",
    "x" * 3000,
    "../../x",
    "\x1b[31m",
    [],
    {},
    [[]],
    {"": 0},
]
ODD_HEADERS = [
    (b"(", b"(9"), (b"False", b"True "), (b"'<f4'", b"'<f8'"), (b"'<f4'", b"'|O' "), (b"'|u1'", b"'|S9'"),
    (b"'descr'", b"'dscr' "), (b"(", b"(-"), (b",", b"," * 20), (b"NUMPY\x01", b"NUMPY\x03"), (b"'<f4'", b"'<M8'"),
]  # fmt: skip

Reader = Callable[[], Any]


@lru_cache
def finished() -> Workspace:
    """The workspace, its records with the hashes that stages write today."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(FOLDER, filter="data")
    workspace = Workspace(FOLDER / "data")
    for record in sorted(workspace.root.rglob("*.json")):
        if record == workspace.dataset_json:
            files = [*workspace.root.glob("faces/*")]
        elif record.name == "run.json":
            files = [record.with_name("best.safetensors"), record.with_name("history.csv")]
        elif record == workspace.masks_json:
            files = [*workspace.root.glob("masks/*.np?")]
        else:
            files = [
                path
                for path in record.parent.glob(f"{record.stem}*")
                if path.suffix in (".csv", ".npy", ".npz")
            ]
        write_record(record, {**read_json(record), "products": workspace.products(record, files)})
    return workspace


def readers(workspace: Workspace, run: Run) -> dict[str, Reader]:
    """All that reads the workspace's files."""
    heatmaps = HeatmapJob(
        workspace, run, parse_request("gradcam"), "test", "label", choose_compute("cpu", "fp32")
    )
    scores = sorted(run.folder.rglob("scores/**/*.json"))
    return {
        "dataset": workspace.dataset,
        "faces": lambda: [np.array(workspace.load_faces(split)) for split in ("train", "test")],
        "rows": lambda: workspace.load_face_rows("test"),
        "labels": lambda: workspace.load_labels("test"),
        "votes": lambda: workspace.load_votes("test"),
        "twins": lambda: workspace.load_twin_groups("test"),
        "truth": lambda: workspace.load_truth("test"),
        "masks": lambda: np.array(workspace.load_region_maps("test")),
        "landmarks": lambda: workspace.load_landmarks("test"),
        "boxes": lambda: workspace.load_boxes("test"),
        "run": run.config,
        "faces of the run": lambda: workspace.changed_faces(run),
        "logits": lambda: read_logits(workspace, run, "test"),
        "heatmaps": lambda: np.array(read_stored(heatmaps, False).raw),
        "weights": lambda: workspace.require_intact(run.run_json, run.best),
        "history": lambda: history(workspace, run),
        "figures": lambda: [scored(workspace, run, path) for path in scores],
    }


def history(workspace: Workspace, run: Run) -> list[dict[str, str]]:
    """The learning curve."""
    workspace.require_intact(run.run_json, run.history_csv)
    return read_csv(run.history_csv)


def scored(workspace: Workspace, run: Run, path: Path) -> Any:
    """Figures of a suite that are not to be made again; None for those that are."""
    revision = REVISIONS[path]
    if is_outdated(workspace, run, path, revision):
        return None
    return read_json(path), read_columns(path.with_suffix(".csv"))


REVISIONS: dict[Path, int] = {}


def same(ours: Any, theirs: Any) -> bool:
    """Whether two contents are equal, arrays and nan among them."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        return (
            ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
        )
    return bool(ours == theirs)


@lru_cache
def before() -> dict[str, Any]:
    """The values that readers give while nothing is damaged."""
    workspace = finished()
    run = workspace.runs()[0]
    for path in run.folder.rglob("scores/**/*.json"):
        REVISIONS[path] = read_json(path)["made_from"]["revision"]
    return {name: read() for name, read in readers(workspace, run).items()}


def forged(path: Path, content: bytes, generator: random.Random) -> bytes:
    """The content of a file, damaged in one of the ways that its kind has."""
    if path.suffix == ".json" and generator.random() < 0.7:
        return json.dumps(other_values(json.loads(content), generator), indent=2).encode()
    if path.suffix == ".npz" and generator.random() < 0.5:
        return repacked(content, generator)
    if path.suffix == ".npy" and generator.random() < 0.5:
        return content.replace(*generator.choice(ODD_HEADERS), 1)
    return generator.choice([damaged, damaged, cut])(content, generator)


def cut(content: bytes, generator: random.Random) -> bytes:
    """The beginning of the content."""
    return content[: generator.randrange(len(content) + 1)]


def other_values(content: Any, generator: random.Random) -> Any:
    """JSON with one value changed or left out."""
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        keys = [key for key in keys if key != RECORD_HASH]
        if not keys:
            return content
        key = generator.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and generator.random() < 0.7:
            place = place[key]
        elif generator.random() < 0.3:
            del place[key]
            return content
        else:
            place[key] = generator.choice(ODD_VALUES)
            return content


def record_without_hash(path: Path) -> tuple[Path, bytes] | None:
    """The record that describes a file, and its content without the hashes; None where there is none."""
    for record in (
        path.with_suffix(".json"),
        *path.parent.glob("*.json"),
        *path.parent.parent.glob("*.json"),
    ):
        if record.exists():
            content = {key: value for key, value in read_json(record).items() if key != "products"}
            return record, json.dumps(content).encode()
    return None


def one_round(generator: random.Random, _folder: Path) -> None:
    """Damage one file, read everything, and put the file back."""
    right, workspace = before(), finished()
    run = workspace.runs()[0]
    there = [*workspace.root.glob("*.json"), *workspace.root.glob("faces/*"), *workspace.root.glob("masks/*")]
    files = sorted([*there, *run.folder.rglob("*.*")])
    path = generator.choice(
        [file for file in files if file.is_file() and file.suffix not in (".lock", ".pt")]
    )
    kept = {path: path.read_bytes()}
    without_hash = record_without_hash(path) if generator.random() < 1 / 3 else None
    try:
        if without_hash is not None:
            kept.setdefault(without_hash[0], without_hash[0].read_bytes())
            without_hash[0].write_bytes(without_hash[1])
        path.write_bytes(forged(path, path.read_bytes(), generator))
        refusals = read_all(workspace, run, None if without_hash else right)
        if generator.random() < 0.05:
            check_workspace(workspace)
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
    if refusals:
        raise refusals[0]


def read_all(workspace: Workspace, run: Run, right: dict[str, Any] | None) -> list[UserError]:
    """The refusals of all readers; each that does not refuse must give what is `right`, where that is known."""
    refusals = []
    for name, read in readers(workspace, run).items():
        try:
            found = read()
        except UserError as error:
            refusals.append(error)
        else:
            if right is not None and name not in ("faces of the run",) and not same(found, right[name]):
                assert name == "figures" and all(
                    one is None or same(one, other) for one, other in zip(found, right[name], strict=True)
                ), f"{name}: other content in silence"
    return refusals


if __name__ == "__main__":
    before()
    sys.exit(run_rounds("files of a workspace", one_round, __doc__, 15_000))
