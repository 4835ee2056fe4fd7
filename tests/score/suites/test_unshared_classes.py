"""Adopted networks whose classes are not those of the data set."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.models import FaceClassifier, build_model, load_model
from fertool.report.warnings import _unshared_sentence
from fertool.score import ScoreSettings, score
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

EIGHT = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")


def adopt(workspace: Workspace, model: FaceClassifier, order: tuple[str, ...], file: Path) -> None:
    torch.save(model.network.state_dict(), file)
    config = TrainConfig(model="cnn", weights=str(file), epochs=0, precision="fp32", class_order=order)
    train(workspace, config, name="theirs", device="cpu")


def all_logits(model: FaceClassifier, workspace: Workspace) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(np.array(workspace.load_faces("test")))).numpy()


def test_how_often_contempt_had_been_the_answer_is_counted(synthetic: Workspace, tmp_path: Path) -> None:
    model = build_model("cnn", len(EIGHT)).eval()
    before = all_logits(model, synthetic)
    margin = before[:, :7].max(axis=1) - before[:, 7]
    with torch.no_grad():  # so that it wins on half of the faces
        model.network.classifier.bias[7] += float(np.median(margin))
    adopt(synthetic, model, EIGHT, tmp_path / "w.pth")
    summary = score(synthetic, ScoreSettings(suites=["classification"]), device="cpu")
    (figures,) = summary.data["classification"]
    names = np.array(EIGHT)[all_logits(model, synthetic).argmax(axis=1)]
    wins = int((names == "contempt").sum())
    labels = np.array(synthetic.dataset()["classes"])[synthetic.load_labels("test")]
    unshared = figures["unshared_classes"]
    assert 0 < wins < len(names) and unshared["left_out_answers"] == {"contempt": wins}
    assert unshared["accuracy_with_all_outputs"] == pytest.approx(np.mean(names == labels))
    assert figures["accuracy"] >= unshared["accuracy_with_all_outputs"]
    (table,) = [each for each in summary.tables if each.title.startswith("classes that network and data set")]
    assert table.rows[0][3:5] == ["contempt", f"contempt {wins} ({wins / len(names):.1%})"]
    sentence = _unshared_sentence("theirs", [figures])
    assert sentence == (
        f"theirs has the output contempt, left out of the softmax; it had been the answer for {wins} of "
        f"{len(names)} faces."
    )
    assert load_model(synthetic.run("theirs").best).outputs is not None


def test_accuracy_over_the_classes_that_both_have(synthetic: Workspace, tmp_path: Path) -> None:
    order = ("happy", "sad", "angry")
    adopt(synthetic, build_model("cnn", 3).eval(), order, tmp_path / "w.pth")
    summary = score(synthetic, ScoreSettings(suites=["classification"]), device="cpu")
    (figures,) = summary.data["classification"]
    labels = np.array(synthetic.dataset()["classes"])[synthetic.load_labels("test")]
    shared = np.isin(labels, order)
    found = figures["unshared_classes"]["shared_classes"]
    assert found["faces"] == shared.sum()
    assert found["accuracy"] == pytest.approx(figures["accuracy"] * len(labels) / shared.sum())
    assert figures["unshared_classes"]["not_its_classes"] == ["disgust", "fear", "surprise", "neutral"]
    assert "has no class disgust, fear, surprise and neutral, and never predicts" in _unshared_sentence(
        "theirs", [figures]
    )


def test_runs_that_share_all_classes_have_no_such_figures(trained: Workspace) -> None:
    summary = score(trained, ScoreSettings(suites=["classification"]), device="cpu")
    assert "unshared_classes" not in summary.data["classification"][0]
    assert _unshared_sentence("cnn", summary.data["classification"]) == ""
