"""Each part that need not be there is hidden: a command works without it, or says in one line what is missing."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fertool import cli
from fertool.masks import command as masks
from fertool.masks.detectors import mediapipe_model
from fertool.runtime.download import CACHE_VARIABLE
from fertool.runtime.files import write_csv, write_json, write_npy
from fertool.workspace import SPLITS, Workspace

ARCHIVE = Path(__file__).with_name("workspace_before.tar.xz")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Faces whose landmarks nothing tells."""
    workspace = Workspace(tmp_path / "ws")
    for split in SPLITS:
        write_npy(workspace.faces(split), np.full((4, 48, 48), 90, np.uint8))
        rows = [[row, f"{row}", row % 2, "", ""] for row in range(4)]
        write_csv(workspace.faces_csv(split), ["row", "id", "label", "source", "twin_group"], rows)
    content = {
        "name": "grey",
        "classes": ["happy", "sad"],
        "splits": {split: {} for split in SPLITS},
        "made_from": {},
    }
    write_json(workspace.dataset_json, content)
    return workspace


def said(workspace: Workspace, *arguments: str) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines that it said beside its tables."""
    done = CliRunner().invoke(cli.app, [*arguments, "--workspace", str(workspace.root)])
    assert "\x1b" not in done.output, "escapes where there is no terminal"
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [line for line in done.output.splitlines() if line.startswith("fertool: ")]


def test_without_dlib(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "dlib_version", lambda: None)
    code, (line,) = said(workspace, "masks", "--detector", "dlib")
    assert code == 1 and "dlib is not installed; run " in line
    assert said(workspace, "masks", "--detector", "template") == (0, [])


@pytest.mark.parametrize("cache", ["empty", "not writable"])
def test_without_mediapipes_model(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    """It cannot be downloaded; or there is no place for it, as in a home that cannot be written to."""
    place = tmp_path / "cache"
    if cache == "not writable":
        place.write_bytes(b"a file, below which nothing can be made")
        place = place / "fertool"
    monkeypatch.setenv(CACHE_VARIABLE, str(place))
    monkeypatch.delenv(mediapipe_model.MODEL_VARIABLE, raising=False)
    monkeypatch.setattr(mediapipe_model, "ADDRESS", "http://127.0.0.1:9/face_landmarker.task")
    code, (line,) = said(workspace, "masks")
    assert code == 1 and ("face_landmarker.task" in line or str(place) in line)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu(workspace: Workspace) -> None:
    code, (line,) = said(workspace, "train", "--device", "cuda", "--epochs", "1")
    assert code == 1 and "cuda" in line


def test_without_a_home_a_terminal_and_a_locale(tmp_path: Path) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ
    }
    done = subprocess.run(
        [sys.executable, "-m", "fertool", "report", "--workspace", "data", "--only", "page"],
        cwd=tmp_path, capture_output=True, check=False,
        env={**kept, "HOME": "/dev/null", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "data" / "report" / "index.html").stat().st_size > 10_000
