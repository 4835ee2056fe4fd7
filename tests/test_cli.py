"""The real command line, as a shell runs it."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from fertool import cli
from fertool.__main__ import main as program
from fertool.runtime.files import write_json
from fertool.summary import Summary
from fertool.train.augment import PRESETS
from fertool.train.config import TrainConfig
from fertool.train.recipes import configure
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


def test_the_whole_pipeline(workspace: Path, in_process) -> None:
    """A few hundred synthetic faces, from nothing to the report; every stage speaks JSON."""
    place = ["--workspace", workspace, "--json"]
    steps = {
        "prepare": ["prepare", "synthetic", "--count", "350"],
        "masks": ["masks"],
        "train": ["train", "--model", "cnn", "--epochs", "2", "--lr", "1e-3", "--name", "first"],
        "explain": ["explain", "--explainer", "gradcam"],
        "score": ["score", "--explainer", "gradcam"],
        "report": ["report", "--only", "page"],
    }
    answers = {}
    for step, arguments in steps.items():
        done = in_process(*arguments, *place)
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

    # tables are for people
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
        (["prepare", "nowhere.zip"], 1, "nowhere.zip"),
        (["trian"], 2, "trian"),
    ],
)  # fmt: skip
def test_errors_of_a_process_are_one_line(tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    require_refused(fertool(*arguments, cwd=tmp_path), code, line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["train", "--workspace", "nowhere"], 1, "no faces here; run 'fertool prepare SOURCE' first"),
        (["train", "--lr", "0"], 1, "fertool: --lr 0.0: must be above 0"),
        (["train", "--seeds", "0-4", "--seed", "7"], 1, "--seeds 0-4 --seed 7: give one of the two"),
        (["train", "--model", "cnn", "--model", "vit"], 1, "fertool: --model is given 2 times; give it once"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        (["train", "--seed", "0-2"], 2, "several seeds are --seeds 0-2"),
        (["score", "--jitter", "0.1"], 2, "called --landmark-jitter now"),
        (["prepare", "synthetic", "--labels", "ferplus"], 2, "called --labels-from now"),
        (["train", "--labels", "ferplus-soft"], 2, "called --train-labels now"),
        (["prepare", "synthetic", "-w", ""], 2, "give the name of a folder"),
    ],
)  # fmt: skip
def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process, arguments: list[str], code: int, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    require_refused(in_process(*arguments), code, line)
    assert not list(tmp_path.iterdir())


def require_refused(done: subprocess.CompletedProcess[str], code: int, line: str) -> None:
    """Fail where a command ended with another code, or said anything but an error with `line`."""
    assert done.returncode == code
    assert line in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
    if code == 1:
        assert len(done.stderr.splitlines()) == 1


def completed(*words: str) -> tuple[list[str], str]:
    """The words that a shell offers for the last one, and the heavy modules that were imported for it."""
    code = (
        "import sys\nsys.argv = ['fertool']\nfrom fertool.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'cv2', 'timm', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    asked = {
        "_FERTOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["fertool", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**ENVIRONMENT, **asked}
    )
    return [line for line in done.stdout.splitlines() if line], done.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("train", "--model", "resn"), ["resnet48", "resnet50"]),
        (("explain", "--explainer", "guided-"), ["guided-backprop", "guided-gradcam"]),
        (("score", "--suite", "causal,robustness-"), ["causal,robustness-attention"]),
        (("score", "--workspace", "WORKSPACE", "--run", "fi"), ["first"]),
        (("score", "--workspace", "WORKSPACE", "--split", "t"), ["train", "test"]),
        (("explain", "--workspace", "WORKSPACE", "--target", "su"), ["surprise"]),
        (("explain", "--workspace", "nowhere", "--target", "su"), []),
        (("train", "--guide-m"), ["--guide-map", "--guide-masks"]),
    ],
)
def test_shells_complete_values(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    workspace = Workspace(tmp_path)
    splits = {"train": {}, "val": {}, "test": {}}
    write_json(
        workspace.dataset_json,
        {"name": "a", "classes": ["sad", "surprise"], "splits": splits, "made_from": {}},
    )
    write_json(workspace.run("first").run_json, {})
    found, imported = completed(*(str(tmp_path) if word == "WORKSPACE" else word for word in words))
    assert found == offered and imported == "[]\n"


def test_completion_knows_the_names_that_are_registered() -> None:
    from fertool import completion
    from fertool.explain.registry import EXPLAINERS, NULLS
    from fertool.masks.regions import REGIONS
    from fertool.models.listing import MODELS
    from fertool.runtime.hardware import DEVICES, PRECISIONS
    from fertool.score.registry import SUITES

    named = [model.name for model in MODELS if not {" ", ":"} & set(model.name)]
    assert sorted(completion.MODELS) == sorted([*named, "multiscale:", "hf:"])
    assert sorted(completion.EXPLAINERS) == sorted([*EXPLAINERS, *NULLS])
    assert list(completion.SUITES) == [suite.name for suite in SUITES.values()]
    assert list(completion.REGIONS) == list(REGIONS)
    assert (completion.DEVICES, completion.PRECISIONS) == (DEVICES, PRECISIONS)


def test_commands_import_what_they_use_and_no_more() -> None:
    """These take longer to import than everything else together; only some suites and models need them."""
    slow = {
        "sklearn",
        "scipy.stats",
        "scipy.optimize",
        "torchvision",
        "timm",
        "torch._dynamo",
        "transformers",
    }
    code = f"import sys, fertool.report.command; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_output_that_nobody_takes_is_one_line() -> None:
    for arguments in (["--help"], ["--version"], ["prepare", "--list-formats"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "fertool", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 1
        assert done.stderr == "fertool: standard output: No space left on device\n"


def test_a_c_locale_and_empty_variables_of_torchrun(workspace: Path) -> None:
    environment = ENVIRONMENT | {
        "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "WORLD_SIZE": "", "RANK": "",
    }  # fmt: skip
    arguments = [sys.executable, "-m", "fertool", "prepare", "synthetic", "--count", "350", "-w", workspace]
    again = subprocess.run([*arguments, "--json"], capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["splits"]["test"]["count"] == 35


@pytest.mark.parametrize("module", ["typer", "fertool.console", "numpy", "torch", "fertool.score.registry"])
def test_ctrl_c_during_imports_is_one_line(module: str) -> None:
    code = f"""
import os, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), 2)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["fertool", "score"]
from fertool.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fertool: interrupted\n")


def test_an_interrupted_program_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    for code in (130, 1):
        monkeypatch.setattr(cli, "main", partial(sys.exit, code))
        with contextlib.suppress(SystemExit):
            program()
    assert ends == [130]


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
# each option as it is written, and what becomes of the settings and keywords that the command's function is given
ARRIVES: dict[str, dict[str, dict[str, Any]]] = {
    "prepare": {
        "--size 64": {"size": 64},
        "--seed 3": {"seed": 3},
        "--classes happy,sad": {"classes": ("happy", "sad")},
        "--group-by a+": {"group_by": "a+"},
        "--ferplus votes.csv": {"ferplus": Path("votes.csv")},
        "--labels-from ferplus --ferplus votes.csv": {"labels_from": "ferplus", "ferplus": Path("votes.csv")},
        "--drop-leaks": {"drop_leaks": True},
        "--eight": {"eight": True},
        "--folds 5": {"folds": 5},
        "--folds 5 --fold 1": {"folds": 5, "fold": 1},
        "--list faces.csv": {"list_file": Path("faces.csv")},
        "--columns path=0,label=1": {"columns": "path=0,label=1"},
        "--label-map 1=sad,2=fear": {"label_map": "1=sad,2=fear"},
        "--label-from (?P<label>.)_": {"label_from": "(?P<label>.)_"},
        "--keep age --keep sex": {"keep": ("age", "sex")},
        "--margin 0.25": {"margin": 0.25},
        "--crop-faces": {"crop_faces": True},
        "--angles S,HL": {"angles": ("S", "HL")},
        "--drop-leaks near": {"drop_leaks": "near"},
        "--preview-twins a.png": {"preview_twins": Path("a.png")},
        "--count 99": {"count": 99},
        "--evidence mouth": {"evidence": "mouth"},
        "--spurious 0.25": {"spurious": 0.25},
        "--force": {"force": True},
    },
    "masks": {
        "--detector dlib": {"detector": "dlib"},
        "--confidence 0.25": {"confidence": 0.25},
        "--margin 0.25": {"margin": 0.25},
        "--mediapipe-model a/b.task": {"mediapipe_model": Path("a/b.task")},
        "--workers 3": {"workers": 3},
        "--preview a/b.png": {"preview": Path("a/b.png")},
        "--force": {"force": True},
    },
    "train": {
        "--model resnet18": {"model": "resnet18"},
        "--recipe strong": {**configure("cnn", "strong").changed},
        "--augment strong": {**vars(PRESETS["strong"])},
        "--weights none": {"weights": "none"},
        "--epochs 3": {"epochs": 3},
        "--batch-size 3": {"batch_size": 3},
        "--optimizer sgd": {"optimizer": "sgd"},
        "--lr 0.25": {"lr": 0.25},
        "--schedule cosine": {"schedule": "cosine"},
        "--warmup-epochs 0.25": {"warmup_epochs": 0.25},
        "--weight-decay 0.25": {"weight_decay": 0.25},
        "--clip 0.25": {"clip": 0.25},
        "--label-smoothing 0.25": {"label_smoothing": 0.25},
        "--balance": {"balance": True},
        "--train-labels ferplus-soft": {"labels": "ferplus-soft", "label_smoothing": 0.0},
        "--self-distillation 0.25": {"self_distillation": 0.25},
        "--patience 3": {"patience": 3},
        "--ema 0.25": {"ema": 0.25},
        "--freeze-epochs 3": {"freeze_epochs": 3},
        "--unfreeze last:2": {"unfreeze": "last:2"},
        "--backbone-lr 0.25": {"backbone_lr": 0.25},
        "--layer-decay 0.25": {"layer_decay": 0.25},
        "--dropout 0.25": {"dropout": 0.25},
        "--drop-path 0.25": {"drop_path": 0.25},
        "--image-size 64": {"image_size": 64},
        "--views whole,face": {"views": "whole,face"},
        "--cam-layer blocks.4": {"cam_layer": "blocks.4"},
        "--channels 1": {"channels": 1},
        "--mean 0.5,0.25,0": {"mean": (0.5, 0.25, 0.0)},
        "--std 0.5": {"std": (0.5,)},
        "--epochs 0 --class-order happy,sad": {"epochs": 0, "class_order": ("happy", "sad")},
        "--epochs 0 --pixel-range 0-255": {"epochs": 0, "pixel_range": "0-255"},
        "--epochs 0 --bgr": {"epochs": 0, "bgr": True},
        "--epochs 0 --interpolation bicubic": {"epochs": 0, "interpolation": "bicubic"},
        "--epochs 0 --crop-scale 0.75": {"epochs": 0, "crop_scale": 0.75},
        "--keep-head": {"keep_head": True},
        "--no-flip": {"flip": False},
        "--shift 0.25": {"shift": 0.25},
        "--rotate-deg 20": {"rotate_deg": 20.0},
        "--crop 0.25": {"crop": 0.25},
        "--zoom 0.25": {"zoom": 0.25},
        "--jitter 0.25": {"jitter": 0.25},
        "--noise 0.25": {"noise": 0.25},
        "--erase 0.25": {"erase": 0.25},
        "--mixup 0.25": {"mixup": 0.25},
        "--guide landmarks": {"guide": "landmarks"},
        "--guide-weight 0,0.25": {"guide": "background", "guide_weight": 0.0, "guide_weights": "0,0.25"},
        "--guide-explainer rollout": {"guide": "background", "guide_explainer": "rollout"},
        "--guide-map relu": {"guide": "background", "guide_map": "relu"},
        "--guide-warmup 3": {"guide": "background", "guide_warmup": 3.0},
        "--guide-masks shuffled": {"guide": "background", "guide_masks": "shuffled"},
        "--guide regions --guide-regions mouth=2": {"guide": "regions", "guide_regions": (("mouth", 2.0),)},
        "--drop-leaks": {"drop_leaks": True},
        "--drop-leaks=identical": {"drop_leaks": True},
        "--drop-leaks near": {"drop_leaks": "near"},
        "--train-fraction 0.25": {"train_fraction": 0.25},
        "--precision bf16": {"precision": "bf16"},
        "--compile": {"compile": True},
        "--seed 3": {"seed": 3},
        "--seeds 0-2": {"seeds": "0-2"},
        "--name mine": {"name": "mine"},
        "--weights-dir a/b": {"weights_dir": Path("a/b")},
        "--device cpu": {"device": "cpu"},
        "--resume": {"resume": True},
        "--force": {"force": True},
    },
    "explain": {
        "--explainer rollout --explainer rise": {"explainers": ("rollout", "rise")},
        "--run a --run b-*": {"runs": ("a", "b-*")},
        "--split val": {"split": "val"},
        "--target happy": {"target": "happy"},
        "--image a.jpg b.jpg c": {"images": (Path("a.jpg"), Path("b.jpg"), Path("c"))},
        "--image a.jpg --overlay-dir b": {"images": (Path("a.jpg"),), "overlay_dir": Path("b")},
        "--gallery a.png": {"gallery": Path("a.png")},
        "--device cpu": {"device": "cpu"},
        "--precision bf16": {"precision": "bf16"},
        "--force": {"force": True},
    },
    "score": {
        "--explainer rollout": {"explainer": "rollout"},
        "--suite causal,sanity --suite truth": {"suites": ("causal", "sanity", "truth")},
        "--run a": {"runs": ("a",)},
        "--split val": {"split": "val"},
        "--target happy": {"target": "happy"},
        "--by model,seed": {"by": ("model", "seed")},
        "--grid 7": {"grid": 7},
        "--by-column age=18,60": {"by_column": "age=18,60"},
        "--landmark-jitter 0.25": {"jitter": 0.25},
        "--contrasts nose,eyes": {"contrasts": ("nose", "eyes")},
        "--fill mean --fill blur,noise": {"fills": ("mean", "blur", "noise")},
        "--reference a": {"reference": "a"},
        "--seed 3": {"seed": 3},
        "--faces 500": {"faces": 500},
        "--tta flip": {"tta": "flip"},
        "--no-nulls": {"nulls": False},
        "--device cpu": {"device": "cpu"},
        "--precision bf16": {"precision": "bf16"},
        "--force": {"force": True},
    },
    "report": {
        "--run a": {"runs": ("a",)},
        "--runs b,a": {"runs": ("b", "a")},
        "--split val": {"split": "val"},
        "--only tables": {"only": ("tables",)},
        "--labels a=Baseline": {"labels": {"a": "Baseline"}},
        "--by-column age=18,60": {"by_column": "age=18,60"},
    },
}
# options that do something else; each has a test of its own
ELSEWHERE = {
    "--help", "--workspace", "--json", "--on", "--list-models", "--list-explainers", "--list-formats",
    "--preview-augment", "--list", "--check", "--try-preprocessing", "--import", "--explainer-name", "--negatives",
    "--ids", "--audit", "--history",
}  # fmt: skip


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a command on arguments, nothing being done; the settings and keywords its function would be called with."""

    def called(command: str, *arguments: str) -> dict[str, Any]:
        given: dict[str, Any] = {}

        def keep(_workspace: Workspace, *positional: Any, **keywords: Any) -> Summary:
            for argument in positional:
                given.update({"source": argument} if isinstance(argument, str) else vars(argument))
            given.update(keywords)
            return Summary(data={})

        monkeypatch.setattr(CALLED[command], keep)
        source = ["synthetic"] if command == "prepare" else []
        done = CliRunner().invoke(cli.app, [command, *source, "--json", *arguments], catch_exceptions=False)
        assert done.exit_code == 0 and done.output == "{}\n", done.output
        return {name: value for name, value in given.items() if name not in ("on_epoch", "requests")}

    return called


@pytest.mark.parametrize(
    ("command", "written"), [(command, written) for command in ARRIVES for written in ARRIVES[command]]
)
def test_every_option_arrives_where_it_belongs_and_changes_nothing_else(
    call, command: str, written: str
) -> None:
    plain = {"train": ["--recipe", "page"]}.get(command, [])
    before = call(command, *plain)
    after = call(command, *(written.split() if "--recipe" in written else [*plain, *written.split()]))
    changed = {name: value for name, value in after.items() if value != before.get(name)}
    expected = ARRIVES[command][written]
    assert changed == {name: value for name, value in expected.items() if value != before.get(name)}
    assert changed


def options_of(command: str) -> list[Any]:
    """Every option of a command that its user can see."""
    parameters = typer.main.get_command(cli.app).commands[command].params
    return [each for each in parameters if each.param_type_name == "option" and not each.hidden]


ALL_OPTIONS = [
    pytest.param(command, option, id=f"{command} {option.opts[0]}")
    for command in CALLED
    for option in options_of(command)
]


@pytest.mark.parametrize(("command", "option"), ALL_OPTIONS)
def test_no_option_is_forgotten_in_the_table(command: str, option: Any) -> None:
    written = {word for line in ARRIVES[command] for word in line.split()}
    assert written & {*option.opts, *option.secondary_opts} or option.opts[0] in ELSEWHERE


def test_every_setting_of_a_training_is_an_option() -> None:
    options = {option.name for option in options_of("train")}
    assert {setting.name for setting in fields(TrainConfig)} <= options


@pytest.mark.parametrize(("command", "option"), ALL_OPTIONS)
def test_every_help_says_what_an_option_does_and_its_default(command: str, option: Any) -> None:
    """At least three words, the subject first; the default stands in the text, or typer shows it."""
    words = option.help.split()
    assert len(words) >= 3
    assert words[0] not in {"Of", "In", "By", "How", "What", "Where", "Whose", "Which", "Those"}
    assert words[0][0].isupper() and not option.help.endswith(".")
    shown = (
        option.show_default and option.default is not None and (not option.is_flag or option.secondary_opts)
    )
    assert bool(shown) != ("default:" in option.help)


RECIPES = [configure(model, recipe).changed for model, recipe in (
    ("cnn", "strong"), ("resnet48", "strong"), ("resnet50", None), ("vit", None),
)]  # fmt: skip


@pytest.mark.parametrize("setting", [setting for setting in fields(TrainConfig) if setting.name != "seed"])
def test_the_help_of_a_setting_names_its_default_and_whether_recipes_set_it(setting: Any) -> None:
    if setting.name == "model":
        return
    option = next(option for option in options_of("train") if option.name == setting.name)
    text = option.help[option.help.rindex("(default: ") :]
    if any(setting.name in recipe for recipe in RECIPES) and setting.name not in ("weights", "flip"):
        assert text.startswith("(default: the recipe's; page ")
        text = text.removeprefix("(default: the recipe's; page ")
    else:
        text = text.removeprefix("(default: ")
    if setting.default is None:
        return
    value = text.rstrip(")").split(",")[0].split(";")[0]
    if isinstance(setting.default, bool):
        assert value == ("on" if setting.default else "off")
    elif isinstance(setting.default, str):
        assert value == setting.default
    else:
        assert float(value) == setting.default


@pytest.mark.parametrize("command", CALLED)
def test_every_example_is_parsed_by_its_command(command: str) -> None:
    group = typer.main.get_command(cli.app)
    (example,) = re.findall(r"Example: fertool (.+)", group.commands[command].help)
    name, *arguments = shlex.split(example)
    assert name == command
    with group.commands[command].make_context(command, list(arguments)) as context:
        given = [word for word in arguments if word.startswith("--")]
        assert given or command == "masks"
        assert {option.split("=")[0] for option in given} <= {
            name for parameter in context.command.params for name in parameter.opts
        }


def test_ctrl_c_leaves_a_run_that_goes_on(workspace: Path) -> None:
    assert fertool("prepare", "synthetic", "--count", "350", "--workspace", workspace).returncode == 0
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
    epochs = len((run / "history.csv").read_text().splitlines()) - 1
    last_line = errors.splitlines()[-1]
    assert last_line == f"fertool: interrupted; the same command goes on from epoch {epochs + 1}"
    assert json.loads((run / "run.json").read_text())["state"] == "running"
    assert len((run / "history.csv").read_text().splitlines()) >= 2
