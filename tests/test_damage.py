"""Damaged files of a finished workspace: each command says one line or makes the file again; no other figures.

The workspace is that of `test_workspace_before`, with the hashes in its records that stages write today.
"""

import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fertool import cli
from fertool.errors import DamagedError
from fertool.runtime.files import read_json, write_record
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.truth import known_planes
from fertool.workspace import Workspace
from fertool.workspace_check import check_workspace

ARCHIVE = Path(__file__).with_name("workspace_before.tar.xz")
MAPS = "heatmaps/gradcam/label/test"
SCORES = "scores/attention/gradcam/label/test"

SCORE = ["score", "--suite", "attention", "--target", "label", "--device", "cpu"]
REPORT = ["report"]
MASKS = ["masks"]
EXPLAIN = ["explain", "--target", "label", "--device", "cpu"]
# each file, and commands that read it
FILES: dict[str, list[list[str]]] = {
    "dataset.json": [MASKS],
    "faces/test.npy": [MASKS, EXPLAIN],
    "faces/test.csv": [SCORE],
    "masks/masks.json": [SCORE],
    "masks/test.npy": [SCORE],
    "masks/test.npz": [MASKS],
    "RUN/run.json": [EXPLAIN, REPORT],
    "RUN/best.safetensors": [[*EXPLAIN, "--force"]],
    "RUN/predictions/test.npz": [EXPLAIN],
    f"RUN/{MAPS}.npy": [SCORE, EXPLAIN],
    f"RUN/{MAPS}.json": [SCORE],
    f"RUN/{SCORES}.csv": [SCORE],
    "RUN/history.csv": [REPORT],
}


def flipped(content: bytes) -> bytes:
    place = len(content) * 3 // 4
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "flipped": flipped,
    "foreign": lambda content: b"\xff\xfe\x00 something else \x93",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the workspace `data` and its runs' own network."""
    folder = tmp_path_factory.mktemp("finished")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    workspace = Workspace(folder / "data")
    described = {
        workspace.dataset_json: [*workspace.root.glob("faces/*")],
        workspace.masks_json: [*workspace.root.glob("masks/*.np?")],
    }
    for run in workspace.runs():
        described[run.run_json] = [run.best, run.history_csv]
        for record in [*run.folder.rglob("predictions/*.json"), *run.folder.rglob("heatmaps/**/*.json")]:
            described[record] = [*record.parent.glob(f"{record.stem}*.np?")]
        for record in run.folder.rglob("scores/**/*.json"):
            described[record] = [record.with_suffix(".csv")]
    for record, files in described.items():
        write_record(record, {**read_json(record), "products": workspace.products(record, files)})
    return folder


@pytest.fixture
def workspace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_network", raising=False)
    yield Workspace("data")


def called(*arguments: str) -> Any:
    """The output of a command; every exit of it is a clean one."""
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def figures(workspace: Workspace) -> Any:
    """The shares of all runs, those of faces made anew on another machine among them."""
    overall = [read_json(run.folder / f"{SCORES}.json")["overall"] for run in workspace.runs()]
    return pytest.approx(np.array([list(record["share"].values()) for record in overall]), abs=1e-5)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("file", "command"), [(file, each) for file in FILES for each in FILES[file]])
def test_a_damaged_file_is_one_line_or_made_again(
    workspace: Workspace, file: str, command: list[str], damage: str
) -> None:
    before = figures(workspace)
    path = workspace.root / file.replace("RUN", str(workspace.runs()[0].folder.relative_to(workspace.root)))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))

    found = called("report", "--check")
    assert found.exit_code == 1 and path.name in found.output

    done = called(*command)
    if done.exit_code == 1:
        (line,) = [line for line in done.output.splitlines() if line.startswith("fertool: ")]
        assert str(path.parent) in line or path.name in line
    else:
        assert done.exit_code == 0, done.output
        if "/run.json" not in file:
            assert figures(workspace).expected == before


def test_a_whole_workspace_is_as_recorded(workspace: Workspace) -> None:
    summary = check_workspace(workspace)
    assert summary.data["damaged"] == [] and summary.failure is None
    assert summary.data["files"] == len(workspace.stored_files())
    done = called("report", "--check", "--json")
    assert done.exit_code == 0 and json.loads(done.output) == summary.data


def test_bytes_that_changed_under_the_same_size_and_time_are_found(workspace: Workspace) -> None:
    assert called("report", "--check").exit_code == 0
    path = workspace.region_maps("test")
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(flipped(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert called("report", "--check").exit_code == 1
    # from here on commands know it as well
    assert "masks/test.npy" in called(*SCORE, "--force").output


def test_a_file_that_is_gone_is_said(workspace: Workspace) -> None:
    workspace.truth("val").unlink()
    (damaged,) = check_workspace(workspace).data["damaged"]
    assert damaged["reason"].startswith(f"{workspace.truth('val')}: no such file; run 'fertool prepare")


def test_a_record_that_holds_nothing_is_said(workspace: Workspace) -> None:
    """Its own hash is gone with those of the files that it describes."""
    record = workspace.runs()[0].run_json
    record.write_text("{}")
    (damaged,) = check_workspace(workspace).data["damaged"]
    assert damaged["reason"].startswith(
        f"{record}: holds nothing, so its files have no hashes; run 'fertool train"
    )


def test_a_file_that_only_some_data_sets_have_is_missed(workspace: Workspace) -> None:
    """Without the truth the masks of drawn faces would be a detector's, and without near twins leaks would train."""
    truth = workspace.truth("test")
    truth.unlink()
    for command in (["masks"], ["masks", "--force"]):
        assert f"fertool: {truth}: no such file; run 'fertool prepare" in called(*command).output
    with pytest.raises(DamagedError, match="no such file"):
        known_planes(EvaluatedRun(workspace, workspace.runs()[0], "test", choose_compute("cpu", "fp32")))

    record = read_json(workspace.dataset_json)
    assert workspace.load_near_twin_groups("test") is None, "they were not looked for"
    recorded = record["products"] | {"faces/near_twins.csv": {"bytes": 1, "sha256": ""}}
    write_record(workspace.dataset_json, {**record, "products": recorded})
    with pytest.raises(DamagedError, match=r"near_twins\.csv: no such file"):
        workspace.load_near_twin_groups("test")
    assert not workspace.is_current(workspace.dataset_json, record["made_from"])
