import importlib
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model, load_model, predict_logits
from fertool.runtime.files import read_csv
from fertool.runtime.hardware import Compute
from fertool.train import losses, train
from fertool.train.augment import augment, draw_epoch, mix
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
CONFIG = TrainConfig(epochs=3, lr=1e-3, precision="fp32")
CPU = Compute(torch.device("cpu"), "fp32")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rotate_deg": 20.0, "mixup": 0.4},
        {"optimizer": "sgd", "lr": 1e-2, "schedule": "cosine", "warmup_epochs": 0.5, "clip": 0.1},
        {"optimizer": "sgd", "lr": 1e-4},  # alone among these, it follows the size of a gradient
    ],
)
def test_one_epoch_equals_a_loop_written_from_the_definition(
    synthetic: Workspace, settings: dict[str, Any]
) -> None:
    config = replace(CONFIG, epochs=1, batch_size=16, dropout=0.0, **settings)
    train(synthetic, config, device="cpu")

    torch.manual_seed(config.seed)
    model = build_model("cnn", 7, dropout=0.0)
    start = {name: value.clone() for name, value in model.network.state_dict().items()}
    parameters = list(model.parameters())
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam(parameters, weight_decay=config.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
            ],
            momentum=0.9,
            nesterov=True,
        )
    faces = torch.from_numpy(np.array(synthetic.load_faces("train")))
    labels = torch.from_numpy(synthetic.load_labels("train"))
    order, draws = draw_epoch(len(faces), 48, config.seed, 1, config.augmentation)
    pixels = augment(faces, draws, config.augmentation)
    targets = F.one_hot(labels, 7).float()
    if config.mixup:
        pixels = mix(pixels, pixels[draws.partners], draws)
        share = draws.own_shares[:, None]
        targets = share * targets + (1 - share) * targets[draws.partners]
    targets = 0.9 * targets + 0.1 / 7
    batches = order.split(16)
    warmup = round(config.warmup_epochs * len(batches))
    loss_sum = 0.0
    for step, rows in enumerate(batches):
        rate = config.lr
        if step < warmup:
            rate *= (step + 1) / warmup
        elif config.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * (step - warmup) / (len(batches) - warmup))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = -(targets[rows] * model(pixels[rows]).log_softmax(dim=1)).sum(dim=1).mean()
        loss.backward()
        if config.clip:
            norm = torch.stack([p.grad.norm() for p in parameters]).norm()
            for parameter in parameters:
                parameter.grad *= min(1.0, config.clip / norm)
        optimizer.step()
        loss_sum += loss.item() * len(rows)

    run = synthetic.run(config.run_name)
    trained = torch.load(run.last, weights_only=True)["network"]
    for name, value in model.network.state_dict().items():
        # Adam divides by the gradient's size: where that is rounding error, so is the step
        assert (trained[name] - value).norm() <= 2e-2 * (value - start[name]).norm(), name
    row = read_csv(run.history_csv)[0]
    assert float(row["train_loss"]) == pytest.approx(loss_sum / len(faces), rel=1e-3)
    assert float(row["lr"]) == pytest.approx(rate)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(synthetic: Workspace) -> None:
    config = replace(CONFIG, lr=1e25)
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at epoch 1, step \d+, learning rate 1e\+25"):
        train(synthetic, config, name="wild", device="cpu")
    assert synthetic.run("wild").config()["state"] == "failed"


SPOILT = """
import torch
from torch import nn

spoilt_from = None  # the batch of train from which logits are nan
in_evaluation = False  # whether they are in evaluation
batches = 0

class Network(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, classes)
        )

    def forward(self, pixels):
        global batches
        logits = self.layers(pixels)
        batches += self.training
        is_spoilt = spoilt_from and batches >= spoilt_from if self.training else in_evaluation
        return logits * torch.nan if is_spoilt else logits

def make(num_classes):
    return Network(num_classes)
"""


@pytest.fixture
def spoilt_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A network of one's own, `spoilt_network:make`, that gives nan when it is told to."""
    (tmp_path / "spoilt_network.py").write_text(SPOILT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "spoilt_network", raising=False)
    return importlib.import_module("spoilt_network")


@pytest.mark.parametrize("read_at_once", [1, 3, 50])
def test_the_first_loss_that_is_not_finite_is_named_however_many_are_read_at_once(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, spoilt_network: ModuleType, read_at_once: int
) -> None:
    """A GPU's are read some at a time."""
    monkeypatch.setattr(losses, "READ_AT_ONCE", {"cpu": read_at_once})
    batch_size = -(-len(synthetic.load_labels("train")) // 5)
    config = replace(CONFIG, model="spoilt_network:make", image_size=48, batch_size=batch_size)

    def spoil(*_: object) -> None:
        spoilt_network.batches, spoilt_network.spoilt_from = 0, 2

    with pytest.raises(
        UserError,
        match=r"the loss is nan at epoch 2, step 2, learning rate 0\.001; the best epoch so far is kept",
    ):
        train(synthetic, config, name="wild", device="cpu", on_epoch=spoil)
    assert spoilt_network.batches == {1: 2, 3: 3, 50: 5}[read_at_once]


def test_weights_that_a_last_step_spoilt_are_not_kept(
    synthetic: Workspace, spoilt_network: ModuleType
) -> None:
    """The losses of train are those before each step; what the last step made, only val can tell."""
    config, run = replace(CONFIG, model="spoilt_network:make", image_size=48), synthetic.run("wild")
    kept = {}

    def spoil(*_: object) -> None:
        kept.update({path: path.read_bytes() for path in (run.last, run.best, run.history_csv)})
        spoilt_network.in_evaluation = True

    with pytest.raises(
        UserError, match=r"the loss on val is nan at epoch 2, .*the best epoch so far is kept"
    ):
        train(synthetic, config, name=run.name, device="cpu", on_epoch=spoil)
    assert len(kept) == 3 and {path: path.read_bytes() for path in kept} == kept
    assert run.config()["state"] == "failed"


def test_the_rate_that_was_too_large_is_the_largest(synthetic: Workspace) -> None:
    config = replace(CONFIG, lr=1e25, backbone_lr=1e-5)
    with pytest.raises(UserError, match=r"learning rate 1e\+25; nothing is kept"):
        train(synthetic, config, name="wild", device="cpu")


def test_augmentation_is_computed_in_full_precision(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bits are too few to say where a pixel comes from."""
    seen: dict[str, torch.Tensor] = {}
    preprocess = FaceClassifier.preprocess

    def looking(model: FaceClassifier, pixels: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and model.training:
            seen.setdefault(precision, pixels)
        return preprocess(model, pixels)

    monkeypatch.setattr(FaceClassifier, "preprocess", looking)
    for precision in ("fp32", "bf16"):
        config = replace(CONFIG, epochs=1, rotate_deg=20.0, crop=0.2, mixup=0.2, precision=precision)
        train(synthetic, config, device="cpu")
    assert torch.equal(seen["fp32"], seen["bf16"])


PLAIN = """
from torch import nn

def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(576, num_classes)
    )
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here, which torch.compile needs")
@pytest.mark.skipif(
    TORCH < (2, 14), reason="before torch 2.14 Module.compile leaves an nn.Sequential as it is"
)
def test_a_compiled_network_learns_the_same(
    synthetic: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_network.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    # batches are alike, so one graph does for all
    config = replace(
        CONFIG,
        model="plain_network:make",
        image_size=48,
        channels=1,
        epochs=1,
        batch_size=len(synthetic.load_labels("train")) // 2,
    )
    train(synthetic, config, name="plain", device="cpu")
    torch._dynamo.utils.counters.clear()
    train(synthetic, replace(config, compile=True), name="compiled", device="cpu")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    plain, compiled = synthetic.run("plain"), synthetic.run("compiled")
    ours, theirs = (float(read_csv(run.history_csv)[0]["train_loss"]) for run in (compiled, plain))
    assert ours == pytest.approx(theirs, rel=1e-4)
    faces = synthetic.load_faces("val")
    logits = [predict_logits(load_model(run.best), faces, CPU) for run in (compiled, plain)]
    assert np.allclose(*logits, atol=1e-2)
