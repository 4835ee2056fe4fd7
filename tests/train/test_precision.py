import numpy as np
import pytest
import torch

from fertool.models import build_model
from fertool.runtime.files import write_json
from fertool.runtime.hardware import Compute
from fertool.train import command, precision, train
from fertool.train.config import TrainConfig
from fertool.train.mapped_faces import MappedFaces
from fertool.train.precision import faster_precision
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


def test_runs_of_one_network_have_one_format(synthetic: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a trial would come out the next time: a condition's seeds, and what they are compared with."""
    monkeypatch.setattr(command, "choose_compute", lambda *of: BFLOAT16)
    trials = iter(["fp32", "bf16", "bf16"])
    monkeypatch.setattr(command, "faster_precision", lambda *of: next(trials))
    formats = {}
    for name, settings in {
        "first": {},
        "seed": {"seed": 1},
        "control": {"lr": 1e-4, "mixup": 0.2},
        "larger batch": {"batch_size": 32},
        "told": {"precision": "bf16"},
        "other network": {"model": "cnn-gap"},
    }.items():
        if name == "seed":  # beside a record of an earlier version, which says less
            record = synthetic.run("first").config()
            del record["image_size"]
            write_json(synthetic.run("earlier").run_json, record)
        train(synthetic, TrainConfig(epochs=1, **settings), name=name)
        formats[name] = synthetic.run(name).config()["hardware"]["precision"]
    assert formats == {
        "first": "fp32",
        "seed": "fp32",
        "control": "fp32",
        "larger batch": "bf16",
        "told": "bf16",
        "other network": "bf16",
    }


def test_a_run_that_begins_again_does_not_follow_itself(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "choose_compute", lambda *of: BFLOAT16)
    trials = iter(["fp32", "bf16"])
    monkeypatch.setattr(command, "faster_precision", lambda *of: next(trials))
    for force, found in ((False, "fp32"), (True, "bf16")):
        train(synthetic, TrainConfig(epochs=1), name="again", force=force)
        assert synthetic.run("again").config()["hardware"]["precision"] == found


def test_a_conditions_own_format_comes_before_that_of_other_runs(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "choose_compute", lambda *of: BFLOAT16)
    monkeypatch.setattr(command, "faster_precision", lambda *of: "fp32")
    train(synthetic, TrainConfig(epochs=1, lr=1e-3), name="z-control")
    train(synthetic, TrainConfig(epochs=1), name="own-s0")
    record = synthetic.run("z-control").config()
    # as an earlier version left it, whose runs did not look at each other
    write_json(
        synthetic.run("a-control").run_json,
        {**record, "hardware": {**record["hardware"], "precision": "bf16"}},
    )
    train(synthetic, TrainConfig(epochs=1, seed=1), name="own-s1")
    assert synthetic.run("own-s1").config()["hardware"]["precision"] == "fp32"
    train(synthetic, TrainConfig(epochs=1, mixup=0.2), name="other")
    assert synthetic.run("other").config()["hardware"]["precision"] == "bf16"


@pytest.mark.parametrize(("began", "there"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_run_keeps_its_format_on_another_machine(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, began: str, there: str
) -> None:
    monkeypatch.setattr(command, "choose_compute", lambda *of: BFLOAT16)
    monkeypatch.setattr(command, "faster_precision", lambda *of: began)
    run = synthetic.run("moved")
    train(synthetic, TrainConfig(epochs=1), name=run.name)
    record = run.config()
    write_json(
        run.run_json, {**record, "state": "running", "hardware": {**record["hardware"], "name": "another"}}
    )
    monkeypatch.setattr(command, "choose_compute", lambda *of: Compute(torch.device("cpu"), there))
    monkeypatch.setattr(command, "faster_precision", lambda *of: there)
    train(synthetic, TrainConfig(epochs=1), name=run.name)
    assert run.config()["hardware"]["precision"] == began


def test_a_gpu_computes_as_it_was_chosen(split: TrainingFaces) -> None:
    compute = Compute(torch.device("meta"), "bf16")
    assert faster_precision(build_model("cnn", 7), split, CONFIG, compute) == "bf16"
