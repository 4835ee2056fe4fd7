"""The real command line, as a shell runs it."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fertool import cli
from fertool.summary import Summary
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

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
    """A few hundred synthetic faces, from nothing to the report; every stage speaks JSON."""
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


CALLED = {
    "prepare": "fertool.prepare.prepare",
    "masks": "fertool.masks.make_masks",
    "train": "fertool.train.train_series",
    "explain": "fertool.explain.explain",
    "score": "fertool.score.score",
    "report": "fertool.report.write_report",
}
VALUES = {int: ("3", 3), float: ("0.25", 0.25), Path: ("a/b", Path("a/b")), str: ("xyz", "xyz")}
# options whose keyword has another name, and those that call something else
KEYWORDS = {"run": "runs", "suite": "suites", "fill": "fills", "image": "images", "compile_it": "compile"}
KEYWORDS |= {"explainer": "second"}  # not by keyword
ELSEWHERE = ("source", "workspace", "as_json", "list_them", "preview_augment", "help")
IN_LISTS = ("classes", "by", "contrasts")  # texts with commas between


def options_of(command: str) -> list[Any]:
    """Each option of a command: its keyword in `cli`, how it is written, its type, and its default."""
    function = getattr(cli, command)
    hints = get_type_hints(function, include_extras=True)
    options = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = get_args(hints[name])
        told = [of for of in (info.default, *(info.param_decls or ())) if str(of).startswith("--")]
        written = (told or [f"--{name.replace('_', '-')}"])[0].split("/")
        if name not in ELSEWHERE:
            case = command, name, written, kind, parameter.default
            options.append(pytest.param(*case, id=f"{command} {written[0]}"))
    return options


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a command on arguments, nothing being done; what its function would have been called with."""

    def called(command: str, *arguments: str) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        def keep(workspace: Workspace, second: Any = None, **how: Any) -> Summary:
            asked.update(how, second=second)
            return Summary(data={})

        def keep_settings(model, recipe, augment, settings: dict[str, Any]) -> TrainConfig:
            asked.update(settings, model=model, recipe=recipe, augment=augment)
            return TrainConfig()

        monkeypatch.setattr(CALLED[command], keep)
        monkeypatch.setattr("fertool.train.recipes.configure", keep_settings)
        source = ["synthetic"] if command == "prepare" else []
        done = CliRunner().invoke(cli.app, [command, *source, "--json", *arguments], catch_exceptions=False)
        assert done.exit_code == 0 and done.output == "{}\n"
        asked.pop("on_epoch", None)
        return asked

    return called


@pytest.mark.parametrize(
    ("command", "name", "written", "kind", "default"),
    [option for command in CALLED for option in options_of(command)],
)
def test_every_option_arrives_where_it_belongs(
    call, command: str, name: str, written: list[str], kind: Any, default: Any
) -> None:
    """And changes nothing else."""
    text = repr(kind)
    if "bool" in text:
        option = f"--no-{name}" if default else written[0]
        arguments, value = [option], not default
    else:
        of_kind = next(of for of in VALUES if of.__name__ in text)
        option, (given, value) = written[0], VALUES[of_kind]
        arguments = [option, given]
    if "list" in text or name in IN_LISTS:
        value = [value]
    before, after = call(command), call(command, *arguments)
    changed = {keyword: of for keyword, of in after.items() if of != before[keyword]}
    if name == "on":
        assert changed["on"].root == value and len(changed) == 1
    elif name == "guide_weight":  # of one lambda the settings, of several the series
        assert changed == {"guide_weight": value, "guide_weights": value}
    else:
        assert changed == {KEYWORDS.get(name, name): value}


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
    while not (run / "history.csv").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "Traceback" not in errors
    assert json.loads((run / "run.json").read_text())["state"] == "running"
    assert len((run / "history.csv").read_text().splitlines()) >= 2
