"""What a training saves, and going on from it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from fertool.errors import Interrupted, UserError
from fertool.models import load_model, predict_logits
from fertool.runtime.files import read_csv, write_json
from fertool.runtime.hardware import Compute
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace

CONFIG = TrainConfig(epochs=3, lr=1e-3, precision="fp32")
CPU = Compute(torch.device("cpu"), "fp32")

Kill = Callable[[str], AbstractContextManager[None]]


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    """The weights of the last epoch, not of the best."""
    return torch.load(run.last, weights_only=True)["network"]


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
    ):
        assert path.read_bytes() == same.read_bytes(), path
    expected = last_weights(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in last_weights(disturbed).items())


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


@pytest.mark.parametrize("kept_bytes", [0, 10, 1000])
def test_half_a_checkpoint_is_one_line(synthetic: Workspace, killed: Kill, kept_bytes: int) -> None:
    with killed("after 1"):
        train(synthetic, CONFIG, name="cnn", device="cpu")
    last = synthetic.run("cnn").last
    last.write_bytes(last.read_bytes()[:kept_bytes])
    with pytest.raises(UserError, match=r"last\.pt: no whole checkpoint; --force begins the run again"):
        train(synthetic, CONFIG, name="cnn", device="cpu")
    train(synthetic, replace(CONFIG, epochs=1), name="cnn", device="cpu", force=True)
    assert synthetic.run("cnn").config()["state"] == "done"


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
    # a step of this size changes no bit of a weight, so val stays as it is
    config = replace(CONFIG, epochs=5, lr=1e-30, weight_decay=0.0, schedule="plateau")
    with killed("after 4"):
        train(synthetic, config, name="flat", device="cpu")
    train(synthetic, config, name="flat", device="cpu")
    rates = [float(row["lr"]) for row in read_csv(synthetic.run("flat").history_csv)]
    assert rates == pytest.approx([1e-30] * 4 + [3e-31], abs=0.0, rel=1e-6)


def test_training_stops_when_patience_ends_also_when_gone_on_with(synthetic: Workspace) -> None:
    config = replace(CONFIG, epochs=6, lr=1e-30, weight_decay=0.0, patience=2)
    train(synthetic, config, name="short", device="cpu")
    run = synthetic.run("short")
    assert len(read_csv(run.history_csv)) == 3 and run.config()["best"]["epoch"] == 1
    write_json(run.run_json, {**run.config(), "state": "running"})
    train(synthetic, config, name="short", device="cpu")
    assert len(read_csv(run.history_csv)) == 3 and run.config()["state"] == "done"
