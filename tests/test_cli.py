"""The real command line, as a shell runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fertool.score as score_package
from fertool import cli
from fertool.summary import Summary

ENVIRONMENT = {**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": "2"}


def fertool(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fertool", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        **options,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli") / "ws"


def test_the_whole_pipeline(workspace: Path) -> None:
    """A few hundred drawn faces, from nothing to the report; every stage speaks JSON."""
    place = ["--workspace", workspace, "--json"]
    steps = {
        "prepare": ["prepare", "synthetic", "--count", "350"],
        "masks": ["masks"],
        "train": ["train", "--model", "cnn", "--epochs", "2", "--lr", "1e-3", "--name", "first"],
        "explain": ["explain", "--explainer", "gradcam"],
        "score": ["score", "--explainer", "gradcam"],
        "report": ["report"],
    }
    answers = {}
    for step, arguments in steps.items():
        done = fertool(*arguments, *place)
        assert done.returncode == 0, f"{step}: {done.stderr}"
        answers[step] = json.loads(done.stdout)

    assert [len(np.load(workspace / f"faces/{split}.npy")) for split in ("train", "val", "test")] == [
        280,
        35,
        35,
    ]
    regions = np.load(workspace / "masks/test.npy")
    assert regions.shape == (35, 48, 48) and set(np.unique(regions)) == set(range(6))
    assert answers["train"]["state"] == "done"
    assert answers["explain"]["heatmaps"][0]["faces"] == 35
    assert sum(answers["score"]["attention"][0]["overall"]["share"].values()) == pytest.approx(1)
    assert Path(answers["report"]["report"]).read_text().startswith("<!doctype html>")
    for path in (
        "dataset.json", "faces/test.csv", "faces/test.truth.npz", "masks/test.npz", "masks/masks.json",
        "runs/first/run.json", "runs/first/history.csv", "runs/first/best.safetensors", "runs/first/last.pt",
        "runs/first/predictions/test.npz", "runs/first/heatmaps/gradcam/predicted/test.npy",
        "runs/first/heatmaps/gradcam/predicted/test.json", "runs/first/scores/classification/test.json",
        "runs/first/scores/attention/gradcam/predicted/test.csv", "runs/first/timing.csv",
    ):  # fmt: skip
        assert (workspace / path).exists(), path
    left_over = [path for path in workspace.rglob("*") if path.suffix in (".tmp", ".partial")]
    assert not left_over


def test_tables_are_for_people(workspace: Path) -> None:
    done = fertool("score", "--workspace", workspace)
    assert "face contour" in done.stdout and "ceiling 12x12" in done.stdout and "accuracy" in done.stdout
    assert done.stderr == ""


def test_version_and_help() -> None:
    assert fertool("--version").stdout.startswith("fertool 0.")
    assert "prepare" in fertool("--help").stdout
    for command in ("prepare", "masks", "train", "explain", "score", "report"):
        assert "Example: fertool" in fertool(command, "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom fertool.cli import main\nsys.argv = ['fertool', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'cv2', 'mediapipe', 'dlib', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["train", "--workspace", "nowhere"], 1, "no faces here; run 'fertool prepare SOURCE' first"),
        (["prepare", "nowhere.zip"], 1, "nowhere.zip"),
        (["train", "--lr", "0"], 1, "fertool: --lr 0.0: must be above 0"),
        (["train", "--seeds", "0-4", "--seed", "7"], 1, "--seeds 0-4 --seed 7: give one of the two"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        (["trian"], 2, "trian"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    done = fertool(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert line in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
    if code == 1:
        assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_full_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit, match=r"^fertool: the GPU's memory is full: .*--batch-size"):
        cli.main()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8.00 TiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_full_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full() -> None:
        raise error

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit, match=r"^fertool: the memory is full: .*--batch-size"):
        cli.main()


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(cli, "app", wrong)
    with pytest.raises(RuntimeError, match="mat1"):
        cli.main()


@pytest.mark.parametrize(("options", "nulls"), [([], True), (["--no-nulls"], False)])
def test_nulls_are_scored_unless_left_out(
    monkeypatch: pytest.MonkeyPatch, options: list[str], nulls: bool
) -> None:
    asked = {}
    monkeypatch.setattr(score_package, "score", lambda *_, **how: asked.update(how) or Summary(data={}))
    assert CliRunner().invoke(cli.app, ["score", "--json", *options]).output == "{}\n"
    assert asked["nulls"] is nulls


def test_ctrl_c_leaves_a_run_that_goes_on(workspace: Path) -> None:
    training = ["train", "--epochs", "60", "--lr", "1e-3", "--name", "stopped", "--workspace", workspace]
    command = subprocess.Popen(
        [sys.executable, "-m", "fertool", *map(str, training)],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # a test run started in the background of a script ignores Ctrl-C, and its children with it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    run = workspace / "runs/stopped"
    deadline_s = time.monotonic() + 120
    while not (run / "last.pt").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "Traceback" not in errors
    assert json.loads((run / "run.json").read_text())["state"] == "running"
    assert len((run / "history.csv").read_text().splitlines()) >= 2
