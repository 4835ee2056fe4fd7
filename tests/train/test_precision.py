import numpy as np
import pytest
import torch

from fertool.hardware import Compute
from fertool.models import build_model
from fertool.train import precision
from fertool.train.config import TrainConfig
from fertool.train.loop import LabelledFaces
from fertool.train.mapped_faces import MappedFaces
from fertool.train.precision import faster_precision

CONFIG = TrainConfig(model="test_resnet", batch_size=8)
BFLOAT16 = Compute(torch.device("cpu"), "bf16")


@pytest.fixture
def split() -> LabelledFaces:
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (20, 48, 48), dtype=np.uint8)
    return LabelledFaces(MappedFaces(faces), random.integers(0, 7, 20))


@pytest.mark.parametrize("unfreeze", ["all", "none"])
def test_trying_leaves_model_and_random_numbers_as_they_were(split: LabelledFaces, unfreeze: str) -> None:
    model = build_model("test_resnet", 7, image_size=64, dropout=0.5)  # it has batch norms
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    state = torch.get_rng_state()
    answer = faster_precision(model, split, TrainConfig(model="test_resnet", unfreeze=unfreeze), BFLOAT16)
    assert answer in ("fp32", "bf16")
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.training


@pytest.mark.parametrize(("bf16_s", "answer"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_bfloat16_must_be_clearly_faster(
    split: LabelledFaces, monkeypatch: pytest.MonkeyPatch, bf16_s: float, answer: str
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


def test_views_of_the_face_are_given_their_boxes(split: LabelledFaces) -> None:
    boxes = np.tile(np.array([[4, 4, 40, 40]], dtype=np.float32), (20, 1))
    model = build_model("multiscale:cnn", 7)
    with_boxes = LabelledFaces(split.faces, split.labels, boxes)
    assert faster_precision(model, with_boxes, CONFIG, BFLOAT16) in ("fp32", "bf16")


def test_a_gpu_computes_as_it_was_chosen(split: LabelledFaces) -> None:
    compute = Compute(torch.device("meta"), "bf16")
    assert faster_precision(build_model("cnn", 7), split, CONFIG, compute) == "bf16"
