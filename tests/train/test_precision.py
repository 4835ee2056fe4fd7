from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fertool.models import build_model
from fertool.runtime.files import write_json
from fertool.runtime.hardware import Compute, describe_hardware
from fertool.train import command, precision, train
from fertool.train.config import TrainConfig
from fertool.train.mapped_faces import MappedFaces
from fertool.train.precision import agreed_precision, faster_precision
from fertool.train.splits import TrainingFaces
from fertool.workspace import Workspace

CONFIG = TrainConfig(model="test_resnet", batch_size=8)
BFLOAT16 = Compute(torch.device("cpu"), "bf16")


@pytest.fixture
def split() -> TrainingFaces:
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (20, 48, 48), dtype=np.uint8)
    return TrainingFaces(MappedFaces(faces), random.integers(0, 7, 20))


@pytest.mark.parametrize("unfreeze", ["all", "none"])
def test_trying_leaves_model_and_random_numbers_as_they_were(split: TrainingFaces, unfreeze: str) -> None:
    model = build_model("test_resnet", 7, image_size=64, dropout=0.5)  # it has batch norms
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    state = torch.get_rng_state()
    faster_precision(model, split, TrainConfig(model="test_resnet", unfreeze=unfreeze), BFLOAT16)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.training


@pytest.mark.parametrize(("bf16_s", "answer"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_bfloat16_must_be_clearly_faster(
    split: TrainingFaces, monkeypatch: pytest.MonkeyPatch, bf16_s: float, answer: str
) -> None:
    now_s = 0.0
    formats = []
    model = build_model("cnn", 7)
    model.layer(model.head).register_forward_hook(lambda head, inputs, logits: formats.append(logits.dtype))
    original = torch.nn.functional.cross_entropy

    def timed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        nonlocal now_s
        now_s += bf16_s if formats.pop() == torch.bfloat16 else 1.0
        return original(logits, labels)

    monkeypatch.setattr(precision.F, "cross_entropy", timed)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now_s)
    assert faster_precision(model, split, CONFIG, BFLOAT16) == answer


def test_views_of_the_face_are_given_their_boxes(split: TrainingFaces) -> None:
    boxes = np.tile(np.array([[4, 4, 40, 40]], dtype=np.float32), (20, 1))
    model = build_model("multiscale:cnn", 7)
    with_boxes = TrainingFaces(split.faces, split.labels, boxes)
    assert faster_precision(model, with_boxes, CONFIG, BFLOAT16)
    with pytest.raises(ValueError, match="boxes"):
        faster_precision(model, split, CONFIG, BFLOAT16)


def record_of(config: TrainConfig, found: str, **changes: Any) -> dict[str, Any]:
    """The part of a finished run's run.json that says in which format it was trained."""
    hardware = describe_hardware(Compute(BFLOAT16.device, found))
    record = {"config": config.as_record(), "condition": config.condition_name, "image_size": 48}
    return {**record, "hardware": hardware, **changes}


FIRST = TrainConfig(epochs=1)


@pytest.mark.parametrize(
    ("settings", "agreed"),
    [
        ({}, "fp32"),
        ({"seed": 1}, "fp32"),
        ({"lr": 1e-3, "mixup": 0.2}, "fp32"),  # a control
        ({"batch_size": 32}, None),
        ({"model": "cnn-gap"}, None),
    ],
)
def test_runs_of_one_network_have_one_format(settings: dict[str, Any], agreed: str | None) -> None:
    """However a trial would come out the next time."""
    others = [record_of(FIRST, "fp32"), record_of(replace(FIRST, precision="bf16", seed=7), "bf16")]
    assert agreed_precision(others, replace(FIRST, **settings), 48, BFLOAT16) == agreed


def test_a_network_of_another_size_or_machine_has_a_format_of_its_own() -> None:
    record = record_of(FIRST, "fp32")
    assert agreed_precision([record], FIRST, 64, BFLOAT16) is None
    elsewhere = {**record, "hardware": {**record["hardware"], "name": "another"}}
    assert agreed_precision([elsewhere], FIRST, 48, BFLOAT16) is None
    assert agreed_precision([], FIRST, 48, BFLOAT16) is None


def test_records_of_an_earlier_version_that_say_less_are_passed_over() -> None:
    less = record_of(FIRST, "bf16")
    del less["image_size"], less["config"]["precision"]
    assert agreed_precision([less], FIRST, 48, BFLOAT16) is None
    assert agreed_precision([less, record_of(FIRST, "fp32")], FIRST, 48, BFLOAT16) == "fp32"


def test_a_conditions_own_format_comes_before_that_of_other_runs() -> None:
    control = replace(FIRST, lr=1e-3)
    # an earlier version's runs did not look at each other
    others = [record_of(control, "bf16"), record_of(FIRST, "fp32"), record_of(control, "fp32")]
    assert agreed_precision(others, replace(FIRST, seed=1), 48, BFLOAT16) == "fp32"
    assert agreed_precision(others, replace(FIRST, mixup=0.2), 48, BFLOAT16) == "bf16"


def test_a_run_keeps_its_format_on_another_machine_and_does_not_follow_itself(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic.run("moved")

    def train_where(chosen: str, trial: str, force: bool = False) -> str:
        """Train where `chosen` is the machine's format and a trial finds the other; return what it was trained in."""
        monkeypatch.setattr(command, "choose_compute", lambda *_: Compute(BFLOAT16.device, chosen))
        monkeypatch.setattr(command, "faster_precision", lambda *_: trial)
        train(synthetic, FIRST, name=run.name, force=force)
        return run.config()["hardware"]["precision"]

    def moves_before_it_is_done() -> None:
        record = run.config()
        hardware = {**record["hardware"], "name": "another"}
        write_json(run.run_json, {**record, "state": "running", "hardware": hardware})

    assert train_where("bf16", trial="fp32") == "fp32"
    moves_before_it_is_done()
    assert train_where("bf16", trial="bf16") == "fp32"
    assert train_where("bf16", trial="bf16", force=True) == "bf16"
    moves_before_it_is_done()
    assert train_where("fp32", trial="fp32") == "bf16"


def test_a_run_is_trained_in_the_format_of_the_run_it_is_compared_with(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "choose_compute", lambda *_: BFLOAT16)
    trials = iter(["fp32"])
    monkeypatch.setattr(command, "faster_precision", lambda *_: next(trials))
    for seed in (0, 1):
        train(synthetic, replace(FIRST, seed=seed), name=f"seed-{seed}")
        assert synthetic.run(f"seed-{seed}").config()["hardware"]["precision"] == "fp32"


def test_a_gpu_computes_as_it_was_chosen(split: TrainingFaces) -> None:
    compute = Compute(torch.device("meta"), "bf16")
    assert faster_precision(build_model("cnn", 7), split, CONFIG, compute) == "bf16"
