"""The state that a training saves, and going on from it."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from fertool.errors import Interrupted, UserError
from fertool.models import build_model, load_model, predict_logits
from fertool.runtime.files import read_csv, write_json
from fertool.runtime.hardware import Compute
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.train.state import TrainingState
from fertool.workspace import Workspace

CONFIG = TrainConfig(epochs=3, lr=1e-3, precision="fp32")
# a step of this size changes no bit of a weight: val stays as it is, and the first epoch is the best
FROZEN = replace(CONFIG, lr=1e-30, weight_decay=0.0)
CPU = Compute(torch.device("cpu"), "fp32")

Kill = Callable[[str], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("settings", "kills"),
    [
        ({}, ["before 1", "after 1", "before 2", "after 2"]),
        ({"ema": 0.9, "schedule": "plateau"}, ["before 2"]),
        ({"optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 1.5, "clip": 1.0}, ["after 1"]),
        ({"optimizer": "sgd", "schedule": "one-cycle", "mixup": 0.4, "noise": 0.02}, ["before 2"]),
        ({"self_distillation": 0.8}, ["after 1", "before 2"]),
        ({"freeze_epochs": 1, "ema": 0.5}, ["before 1", "after 1", "before 2", "after 2"]),
        (
            {"freeze_epochs": 2, "flip": False, "shift": 0.0, "dropout": 0.0},
            ["before 2", "after 2", "before 3"],
        ),
        ({"unfreeze": "none", "flip": False, "shift": 0.0, "dropout": 0.5}, ["after 1"]),
        (
            {"model": "resnet48", "image_size": 16, "ema": 0.9, "precision": "bf16", "balance": True},
            ["after 1"],
        ),
    ],
    ids=[
        "plain",
        "moving mean",
        "adamw",
        "mixup",
        "self-distillation",
        "freezing",
        "frozen features",
        "dropout on features",
        "batch norms in bfloat16",
    ],
)
def test_interrupted_and_gone_on_it_ends_in_the_same_bits(
    synthetic: Workspace, killed: Kill, settings: dict[str, Any], kills: list[str]
) -> None:
    config = replace(CONFIG, **settings)
    train(synthetic, config, name="undisturbed", device="cpu")
    for moment in kills:
        with killed(moment):
            train(synthetic, config, name="disturbed", device="cpu")
        assert synthetic.run("disturbed").config()["state"] == "running"
    train(synthetic, config, name="disturbed", device="cpu")

    undisturbed, disturbed = (synthetic.run(name) for name in ("undisturbed", "disturbed"))
    assert disturbed.config() == {**undisturbed.config(), "name": "disturbed"}
    assert disturbed.config()["state"] == "done"
    for path, same in (
        (disturbed.history_csv, undisturbed.history_csv),
        (disturbed.best, undisturbed.best),
        (disturbed.last, undisturbed.last),
    ):
        assert path.read_bytes() == same.read_bytes(), path
    assert [row["epoch"] for row in read_csv(disturbed.timing_csv)] == ["1", "2", "3"]


def test_resume_begins_no_run(synthetic: Workspace) -> None:
    with pytest.raises(UserError, match=r"cnn.*--resume: no training was begun here"):
        train(synthetic, CONFIG, name="cnn", device="cpu", resume=True)
    assert not synthetic.run("cnn").folder.exists()
    with pytest.raises(UserError, match=r"--force .* --resume"):
        train(synthetic, CONFIG, name="cnn", device="cpu", resume=True, force=True)


@pytest.mark.parametrize(
    ("epoch", "force", "line"),
    [
        (2, False, "the same command goes on from epoch 3"),
        (1, True, "the same command without --force goes on from epoch 2"),
    ],
)
def test_ctrl_c_says_from_where_the_next_call_goes_on(
    synthetic: Workspace, epoch: int, force: bool, line: str
) -> None:
    def interrupt(_run: str, row: dict[str, Any], _timing: dict[str, Any]) -> None:
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=f"^{line}$"):
        train(synthetic, CONFIG, name="cnn", device="cpu", force=force, on_epoch=interrupt)
    first: list[int] = []
    train(
        synthetic,
        CONFIG,
        name="cnn",
        device="cpu",
        on_epoch=lambda _run, row, _timing: first.append(row["epoch"]),
    )
    assert first[0] == epoch + 1


def test_resume_goes_on_with_one(synthetic: Workspace, killed: Kill) -> None:
    with killed("after 1"):
        train(synthetic, CONFIG, name="cnn", device="cpu")
    epochs = []
    train(
        synthetic,
        CONFIG,
        name="cnn",
        device="cpu",
        resume=True,
        on_epoch=lambda _run, row, _timing: epochs.append(row["epoch"]),
    )
    assert epochs == list(range(2, CONFIG.epochs + 1))


@pytest.fixture(scope="module")
def begun_once(synthetic_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run `cnn` that was interrupted after two epochs, the first of which is the best."""
    workspace = Workspace(shutil.copytree(synthetic_once, tmp_path_factory.mktemp("begun") / "ws"))

    def interrupt(_run: str, row: dict[str, Any], _timing: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(workspace, FROZEN, name="cnn", device="cpu", on_epoch=interrupt)
    rows = read_csv(workspace.run("cnn").history_csv)
    assert [row["best"] for row in rows] == ["1", "0"]
    return workspace.root


@pytest.fixture
def begun(begun_once: Path, tmp_path: Path) -> Workspace:
    """A copy of it."""
    return Workspace(shutil.copytree(begun_once, tmp_path / "ws"))


@pytest.mark.parametrize("kept_bytes", [0, 10, 1000])
def test_half_a_checkpoint_is_one_line(begun: Workspace, kept_bytes: int) -> None:
    last = begun.run("cnn").last
    last.write_bytes(last.read_bytes()[:kept_bytes])
    with pytest.raises(UserError, match=r"last\.pt: no whole checkpoint; --force begins the run again"):
        train(begun, FROZEN, name="cnn", device="cpu")
    train(begun, FROZEN, name="cnn", device="cpu", force=True)
    assert begun.run("cnn").config()["state"] == "done"


@pytest.mark.parametrize("damage", ["flipped", "zeroed"])
def test_a_changed_checkpoint_is_never_gone_on_from(begun: Workspace, damage: str) -> None:
    """Wherever it is changed: it is refused, or, where torch reads none of the bytes, it holds what it held."""
    last = begun.run("cnn").last
    whole, random = last.read_bytes(), np.random.default_rng(0)
    untouched = torch.load(last, weights_only=True)
    refused = 0
    for start in random.integers(0, len(whole), 30):
        damaged = bytearray(whole)
        part = slice(start, start + (1 if damage == "flipped" else 16))
        damaged[part] = bytes(byte ^ 0x10 if damage == "flipped" else 0 for byte in damaged[part])
        last.write_bytes(damaged)
        state = TrainingState(build_model("cnn", 7), FROZEN, 70)
        try:
            state.load(begun.run("cnn"))
        except UserError as error:
            assert "last.pt: no " in str(error) and "--force begins the run again" in str(error)
            refused += bytes(damaged) != whole
        else:
            loaded = state.model.network.state_dict()
            assert state.history == untouched["history"]
            assert all(torch.equal(loaded[name], value) for name, value in untouched["network"].items())
    assert refused > 20


def test_a_checkpoint_of_another_run_is_one_line(begun: Workspace) -> None:
    last = begun.run("cnn").last
    content = torch.load(last, weights_only=True)
    for change in ({"network": {}}, {"history": []}, {"network": build_model("cnn-gap", 7).state_dict()}):
        torch.save({**content, **change}, last)
        with pytest.raises(UserError, match=r"last\.pt: no checkpoint of this (run|program); --force"):
            train(begun, FROZEN, name="cnn", device="cpu")


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_damaged_weights_of_the_best_epoch_are_not_kept_by_a_training_that_goes_on(
    begun: Workspace, damage: str
) -> None:
    best = begun.run("cnn").best
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.write_bytes(content)
    if damage == "gone":
        best.unlink()
    message = {"flipped": "not the weights of the best epoch so far", "gone": "no such file"}[damage]
    with pytest.raises(UserError, match=rf"best\.safetensors: {message}; --force begins the run again"):
        train(begun, FROZEN, name="cnn", device="cpu")


def test_a_finished_run_with_damaged_weights_is_not_called_done(begun: Workspace) -> None:
    train(begun, FROZEN, name="cnn", device="cpu")
    run = begun.run("cnn")
    assert set(run.config()["products"]) == {"best.safetensors", "last.pt", "history.csv"}
    content = bytearray(run.best.read_bytes())
    content[-1] ^= 1
    run.best.write_bytes(content)
    with pytest.raises(
        UserError, match=r"best\.safetensors: not the file that run\.json describes; .*--force"
    ):
        train(begun, FROZEN, name="cnn", device="cpu")
    train(begun, FROZEN, name="cnn", device="cpu", force=True)
    assert "was done already" in train(begun, FROZEN, name="cnn", device="cpu").notes[0]


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(begun: Workspace) -> None:
    """It has the timing in it, and says nothing of the best weights."""
    run, other = begun.run("cnn"), Workspace(shutil.copytree(begun.root, begun.root.parent / "other"))
    train(other, FROZEN, name="cnn", device="cpu")
    content = torch.load(run.last, weights_only=True)
    del content["best_sha256"]
    timing = [{"epoch": epoch, "epoch_s": 0.1, "images_per_s": 700.0} for epoch in (1, 2)]
    torch.save({**content, "timing": timing}, run.last)
    run.timing_csv.unlink()
    train(begun, FROZEN, name="cnn", device="cpu")
    assert [row["epoch"] for row in read_csv(run.timing_csv)] == ["1", "2", "3"]
    assert run.best.read_bytes() == other.run("cnn").best.read_bytes()
    assert run.history_csv.read_bytes() == other.run("cnn").history_csv.read_bytes()


def test_a_lost_timing_stops_no_training(begun: Workspace) -> None:
    begun.run("cnn").timing_csv.write_bytes(b"\xff")
    train(begun, FROZEN, name="cnn", device="cpu")
    assert [row["epoch"] for row in read_csv(begun.run("cnn").timing_csv)] == ["3"]


def test_the_moving_average_is_what_is_measured_and_kept(synthetic: Workspace) -> None:
    config = replace(CONFIG, model="resnet48", image_size=16, epochs=1, ema=0.9)  # it has batch norms
    train(synthetic, config, name="ema", device="cpu")
    run = synthetic.run("ema")
    state, kept = torch.load(run.last, weights_only=True), load_file(run.best)
    for name, value in state["mean"]["network"].items():
        assert torch.equal(kept[name], value), name
    assert any(not torch.equal(kept[name], value) for name, value in state["network"].items())
    logits = predict_logits(load_model(run.best), synthetic.load_faces("val"), CPU)
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(synthetic.load_labels("val")))
    assert float(read_csv(run.history_csv)[0]["val_loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_the_rate_falls_on_a_plateau_and_after_a_kill_on_it(synthetic: Workspace, killed: Kill) -> None:
    config = replace(FROZEN, epochs=5, schedule="plateau")
    with killed("after 4"):
        train(synthetic, config, name="flat", device="cpu")
    train(synthetic, config, name="flat", device="cpu")
    rates = [float(row["lr"]) for row in read_csv(synthetic.run("flat").history_csv)]
    assert rates == pytest.approx([1e-30] * 4 + [3e-31], abs=0.0, rel=1e-6)


def test_training_stops_when_patience_ends_also_when_gone_on_with(synthetic: Workspace) -> None:
    config = replace(FROZEN, epochs=6, patience=2)
    train(synthetic, config, name="short", device="cpu")
    run = synthetic.run("short")
    assert len(read_csv(run.history_csv)) == 3 and run.config()["best"]["epoch"] == 1
    write_json(run.run_json, {**run.config(), "state": "running"})
    train(synthetic, config, name="short", device="cpu")
    assert len(read_csv(run.history_csv)) == 3 and run.config()["state"] == "done"
