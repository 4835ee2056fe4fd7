"""Corruptions that move the picture: a network that sees the face's box sees it at its new place."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.explain.heatmaps import cam_layer_of
from fertool.explain.registry import parse_request
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.corruptions import CORRUPTIONS, SEVERITIES
from fertool.score.suites.robustness import ROBUSTNESS, score_robustness
from fertool.score.suites.robustness_attention import ROBUSTNESS_ATTENTION, score_robustness_attention
from fertool.score.suites.sanity import score_sanity
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace


@pytest.fixture
def evaluated(trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluatedRun:
    """A run that sees nothing but the middle of each face, which no shift moves over the picture's border."""
    for suite in ("robustness", "robustness_attention"):
        monkeypatch.setattr(f"fertool.score.suites.{suite}.CORRUPTIONS", {"shift": CORRUPTIONS["shift"]})
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    config = TrainConfig(model="multiscale:cnn", views="face", epochs=1, lr=1e-3, precision="fp32")
    train(workspace, config, name="face", device="cpu")
    compute = Compute(torch.device("cpu"), "fp32")
    evaluated = EvaluatedRun(workspace, workspace.run("face"), "test", compute)
    vars(evaluated)["boxes"] = np.tile(np.float32([18, 18, 30, 30]), (len(evaluated.labels), 1))
    return evaluated


def test_a_shifted_face_in_its_shifted_box_has_the_same_answer(evaluated: EvaluatedRun) -> None:
    figures, _ = score_robustness(evaluated)
    clean_error = 1 - figures["clean_accuracy"]
    assert figures["corruptions"]["shift"]["error"] == pytest.approx([clean_error] * SEVERITIES)


def test_its_map_moves_with_its_regions(evaluated: EvaluatedRun) -> None:
    figures, _ = score_robustness_attention(evaluated, parse_request("gradcam"), "label", faces=20)
    assert np.ptp(list(figures["clean"]["share"].values())) > 0.05
    assert figures["corruptions"]["shift"]["moved"] == pytest.approx([0] * SEVERITIES, abs=1e-3)


def test_only_networks_of_several_views_have_figures_to_score_again(evaluated: EvaluatedRun) -> None:
    """Earlier versions left the box where it was, which moved no figure of other networks."""
    one_view = evaluated.workspace.run("cnn")
    for suite in (ROBUSTNESS, ROBUSTNESS_ATTENTION):
        assert suite.revision_for(evaluated.run) == suite.revision_for(one_view) + 1 == suite.revision + 1


def test_sanity_names_a_layer_of_both_branches_once(evaluated: EvaluatedRun) -> None:
    request = parse_request("gradcam")
    figures, _ = score_sanity(evaluated, request, faces=4, draws=1)
    assert [step["layer"] for step in figures["steps"]] == ["classifier", "hidden", "conv3", "conv2", "conv1"]
    assert cam_layer_of(evaluated.run, request) == "relu3 of each branch"
    assert cam_layer_of(evaluated.workspace.run("cnn"), request) == "relu3"
