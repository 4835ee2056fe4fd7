"""bfloat16 for changed faces: taken where it moves nothing by much, measured once."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fertool.masks import make_masks
from fertool.models import FaceClassifier
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_json, write_json
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations import number_format
from fertool.score.perturbations.number_format import measure_formats, network_of, picture_compute
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

FP32 = Compute(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("formats"))
    prepare(workspace, "synthetic", PrepareSettings(count=350))
    make_masks(workspace)
    train(workspace, TrainConfig(epochs=2, lr=1e-3, precision="fp32"), name="cnn", device="cpu")
    return workspace


@pytest.fixture
def evaluated(workspace: Workspace) -> EvaluatedRun:
    workspace.run("cnn").number_format("train").unlink(missing_ok=True)
    return EvaluatedRun(workspace, workspace.run("cnn"), "train", FP32, tries_bfloat16=True)


class Offset(nn.Module):
    """A network whose logits lie so high that bfloat16, of eight bits, does not tell them apart."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.ones = nn.Linear(1, 7)
        with torch.no_grad():
            self.ones.weight.fill_(4096.0)
            self.ones.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        high = self.ones(inputs.new_ones(len(inputs), 1))
        return (high + self.network(inputs).to(high.dtype)).to(high.dtype)


def test_the_figures_are_those_of_each_format_and_their_difference_over_the_interval(evaluated) -> None:
    record = measure_formats(evaluated)
    figures = record["figures"]
    right = evaluated.predicted == evaluated.labels
    chances = torch.from_numpy(evaluated.logits).double().softmax(dim=1).numpy()
    chance = chances[np.arange(len(right)), evaluated.labels].mean()
    assert record["faces"] == len(right)
    assert figures["accuracy"]["fp32"] == right.mean()
    assert figures["probability of the label"]["fp32"] == pytest.approx(chance, abs=1e-6)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        low = evaluated.model(torch.from_numpy(np.array(evaluated.faces))).double().softmax(dim=1).numpy()
    in_bfloat16 = low[np.arange(len(right)), evaluated.labels].mean()
    assert figures["probability of the label"]["bf16"] == pytest.approx(in_bfloat16, abs=1e-6)
    for figure in figures.values():
        start, end = figure["fp32_interval"]
        assert start <= figure["fp32"] <= end
        moved = abs(figure["bf16"] - figure["fp32"])
        assert figure["of_interval"] == pytest.approx(moved / (end - start), abs=1e-9)
    assert record["serves"] == all(figure["of_interval"] <= 0.1 for figure in figures.values())


def test_intervals_narrow_where_a_part_of_the_faces_is_measured(evaluated, monkeypatch) -> None:
    monkeypatch.setattr(number_format, "MOST_FACES", 70)
    record = measure_formats(evaluated)
    figure = record["figures"]["probability of the label"]
    own = measure_formats(replace(evaluated))  # the same faces again
    assert record == own and record["faces"] == 70
    monkeypatch.setattr(number_format, "MOST_FACES", 280)
    start, end = measure_formats(evaluated)["figures"]["probability of the label"]["fp32_interval"]
    assert figure["fp32_interval"][1] - figure["fp32_interval"][0] == pytest.approx(end - start, rel=0.5)


def test_a_network_that_bfloat16_spoils_stays_in_float32(evaluated, monkeypatch) -> None:
    model = evaluated.model
    spoilt = FaceClassifier(Offset(model.network), "cnn", model.input_spec, cam_layer="network.relu3").eval()
    spoilt.recipe = model.recipe
    monkeypatch.setitem(evaluated.__dict__, "model", spoilt)
    assert picture_compute(evaluated).precision == "fp32"
    record = read_json(evaluated.run.number_format("train"))
    assert not record["serves"]
    assert record["figures"]["probability of the label"]["of_interval"] > 0.1


def test_it_is_measured_once_for_the_same_weights(evaluated, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    path = evaluated.run.number_format("train")
    assert picture_compute(evaluated).precision == (
        "bf16" if measure_formats(evaluated)["serves"] else "fp32"
    )
    assert "bfloat16 moves accuracy and probability" in caplog.text
    monkeypatch.setattr(number_format, "measure_formats", lambda _: pytest.fail("measured again"))
    record = read_json(path)
    for serves, taken in ((False, "fp32"), (True, "bf16")):
        write_json(path, record | {"serves": serves})
        assert picture_compute(evaluated).precision == taken
    inputs = record["made_from"]["inputs"]
    weights = next(name for name in inputs if name.endswith("best.safetensors"))
    other = record["made_from"] | {"inputs": inputs | {weights: "of other weights"}}
    write_json(path, record | {"made_from": other})
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        picture_compute(evaluated)


def test_nothing_is_measured_where_the_format_is_given(evaluated) -> None:
    assert picture_compute(replace(evaluated, tries_bfloat16=False)) == FP32
    assert not evaluated.run.number_format("train").exists()


def test_pictures_are_computed_in_the_format_that_serves_but_for_undecided_answers(evaluated) -> None:
    rows = np.arange(6)
    faces = torch.from_numpy(np.array(evaluated.faces[rows])).float()
    pictures = torch.cat([faces, faces.flip(2), faces.mean(dim=(1, 2), keepdim=True).expand_as(faces)])
    path = evaluated.run.number_format("train")
    picture_compute(evaluated)
    record = read_json(path)
    with torch.inference_mode():
        exact = evaluated.model(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            quick = evaluated.model(pictures).float()
    assert not torch.equal(exact, quick)
    first, second = quick.topk(2, dim=1).values.unbind(dim=1)
    gaps = first - second
    between = float(gaps.median())
    for serves, margin, wanted in (
        (False, 0.0, exact),
        (True, -1.0, quick),
        (True, 1e9, exact),
        (True, between, torch.where((gaps <= between)[:, None], exact, quick)),
    ):
        write_json(path, record | {"serves": serves, "margin": margin})
        assert torch.allclose(network_of(evaluated)(rows)(pictures), wanted, atol=1e-5)


def test_no_measured_answer_flips_beyond_the_margin(evaluated) -> None:
    faces = torch.from_numpy(np.array(evaluated.faces))
    with torch.inference_mode():
        exact = evaluated.model(faces)
        with torch.autocast("cpu", torch.bfloat16):
            quick = evaluated.model(faces).float()
    margin = measure_formats(evaluated)["margin"]
    first, second = quick.topk(2, dim=1).values.unbind(dim=1)
    decided = first - second > margin
    assert decided.any() and torch.equal(exact.argmax(dim=1)[decided], quick.argmax(dim=1)[decided])
    # three classes: 2.0 is ahead by 0.5 in the quick format, by 0.1 in the exact one; the second face's answer flips
    quick = torch.tensor([[[2.0, 1.5, 0.0], [1.0, 0.9, 0.0]]])
    exact = torch.tensor([[[2.0, 1.5, 1.9], [1.0, 1.3, 0.0]]])
    assert number_format._margin(quick, exact) == pytest.approx(0.4)
