"""The usual preprocessings of a finished network, listed by its accuracy; nothing is chosen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model, predict_logits
from fertool.runtime.hardware import Compute
from fertool.train import try_preprocessings
from fertool.train.config import TrainConfig
from fertool.train.try_preprocessing import Faces, Measuring, Trial, ranges, suggested_order
from fertool.workspace import Workspace

CPU = Compute(torch.device("cpu"), "fp32")
CLASSES = ["angry", "disgust", "fear", "happy", "sad"]
ORDER = ["sad", "happy", "contempt", "angry", "fear", "disgust"]  # of the network's outputs


@pytest.fixture
def network() -> FaceClassifier:
    """Six outputs; what it predicts depends on the face."""
    torch.manual_seed(5)
    model = build_model("cnn", len(ORDER), mean=(0.5,), std=(0.5,), crop_scale=0.8).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    logits = predict_logits(model, pixels, CPU)
    with torch.no_grad():
        model.network.classifier.bias -= torch.from_numpy(logits.mean(axis=0))
    return model


@pytest.fixture
def faces(network: FaceClassifier) -> Faces:
    """Faces that the network classifies right, all of them, under its own preprocessing and order."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    outputs = [ORDER.index(name) for name in CLASSES]
    labels = predict_logits(network, pixels, CPU)[:, outputs].argmax(axis=1)
    return Faces(pixels, labels, np.arange(64) % 2 == 0)


def test_the_right_preprocessing_is_first_and_its_options_are_named(
    network: FaceClassifier, faces: Faces
) -> None:
    network.input_spec = replace(network.input_spec, mean=(0.2,), std=(3.0,), crop_scale=1.0)
    found = Measuring(network, faces, CLASSES, ORDER, CPU)
    found.measure(ranges(network.input_spec, colour=False))
    right = replace(network.input_spec, mean=(0.5,), std=(0.5,), crop_scale=0.8)
    found.measure([Trial(right, ("--pixel-range=-1-1", "--crop-scale 0.8"))])
    best = max(found.rows, key=lambda row: row["accuracy"])
    assert best["accuracy"] == 1 and best["options"] == "--pixel-range=-1-1 --crop-scale 0.8"
    assert not best["order_is_suggested"] and found.best.spec == right
    assert best["interval"][0] < 1 == best["interval"][1] and len(found.rows) == 6
    found.measure([Trial(right)])
    assert len(found.rows) == 6, "nothing is tried twice"


def test_an_order_is_suggested_by_the_confusions(network: FaceClassifier, faces: Faces) -> None:
    wrong = [ORDER[1], ORDER[0], *ORDER[2:]]
    found = Measuring(network, faces, CLASSES, wrong, CPU)
    found.measure([Trial(network.input_spec)])
    given, suggested = found.rows
    assert given["accuracy"] < suggested["accuracy"] == 1 and suggested["order_is_suggested"]
    assert [name for name in suggested["class_order"] if name in CLASSES] == [
        name for name in ORDER if name in CLASSES
    ]
    assert suggested["options"] == f"--class-order {','.join(suggested['class_order'])}"
    unknown = Measuring(network, faces, CLASSES, None, CPU)
    unknown.measure([Trial(network.input_spec)])
    assert [row["accuracy"] for row in unknown.rows] == [1]


def test_the_suggestion_is_the_best_assignment() -> None:
    logits = np.eye(3)[[0, 0, 1, 1, 2, 2, 2]]
    labels = np.array([1, 1, 0, 0, 0, 0, 1])
    assert suggested_order(logits, labels, ["happy", "sad"], None) == ["sad", "happy", "output-2"]
    assert suggested_order(logits, labels, ["happy", "sad"], ["sad", "happy", "output-2"]) is None


def test_channels_are_turned_where_there_are_colours() -> None:
    spec = build_model("test_resnet", 7, image_size=64).input_spec
    assert not any("--bgr" in trial.options for trial in ranges(spec, colour=False))
    assert sum("--bgr" in trial.options for trial in ranges(spec, colour=True)) == 5


def test_nothing_is_made_and_test_is_never_read(
    synthetic: Workspace, network: FaceClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"net": network.network.state_dict()}, tmp_path / "w.pth")
    read: list[str] = []
    load = Workspace.load_faces
    monkeypatch.setattr(Workspace, "load_faces", lambda self, split: read.append(split) or load(self, split))
    before = sorted(path for path in synthetic.root.rglob("*") if path.is_file())
    config = TrainConfig(weights=str(tmp_path / "w.pth"), epochs=0, precision="fp32")
    summary = try_preprocessings(synthetic, config, device="cpu")
    assert (
        set(read) == {"val"}
        and sorted(path for path in synthetic.root.rglob("*") if path.is_file()) == before
    )
    rows = summary.data["tried"]
    assert [row["accuracy"] for row in rows] == sorted((row["accuracy"] for row in rows), reverse=True)
    options = [row["options"] for row in rows]
    assert any("--crop-scale 0.9" in one for one in options) and any(
        "--interpolation area" in one for one in options
    )
    assert all("--class-order" in one for one in options), "no order is known"
    assert any("grey" in note for note in summary.notes)
    (table,) = summary.tables
    assert len(table.rows) == len(rows) and "nothing is chosen" in table.notes[0]


def test_what_cannot_be_tried_is_one_line(synthetic: Workspace) -> None:
    with pytest.raises(UserError, match="--try-preprocessing: looks at a finished network; give --epochs 0"):
        try_preprocessings(synthetic, TrainConfig(), device="cpu")
    with pytest.raises(UserError, match="--epochs 0 takes a finished network as it is"):
        try_preprocessings(synthetic, TrainConfig(epochs=0), device="cpu")


def test_the_options_that_a_row_replaces_are_named(network: FaceClassifier) -> None:
    given = replace(network.input_spec, mean=(0.1,), std=(0.3,))
    options = [trial.options for trial in ranges(given, colour=False, statistics_given=("--mean", "--std"))]
    assert options[0] == () and options[1] == ("--pixel-range 0-1", "without --mean and --std")
    assert options[-1] == ("--mean 0.508 --std 0.255",)
    options = [trial.options for trial in ranges(given, colour=False, statistics_given=("--pixel-range",))]
    assert options[1] == ("--pixel-range 0-1",) and options[-1][1] == "without --pixel-range"


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_the_number_of_outputs_is_that_of_the_head_in_the_file(
    synthetic: Workspace, network: FaceClassifier, tmp_path: Path, name: str
) -> None:
    # a .safetensors sorts its tensors, so that the head's are not the last
    state = dict(sorted(network.network.state_dict().items()))
    if name.endswith("pth"):
        torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / name)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / name)
    config = TrainConfig(weights=str(tmp_path / name), epochs=0, precision="fp32", pixel_range="0-1")
    rows = try_preprocessings(synthetic, config, device="cpu").data["tried"]
    assert {len(row["class_order"]) for row in rows} == {len(ORDER)}
