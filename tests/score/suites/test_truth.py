import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fertool.errors import UserError
from fertool.explain.registry import parse_request
from fertool.masks import make_masks
from fertool.masks.regions import MOUTH
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.hardware import choose_compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.truth import find_evidence, score_truth, truth_tables
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

SIDE = 24


def square() -> np.ndarray:
    where = np.zeros((1, SIDE, SIDE), dtype=bool)
    where[0, 4:10, 6:12] = True
    return where


def test_a_map_on_the_evidence_finds_it() -> None:
    found = find_evidence(square().astype(float), square())
    assert found["share"] == 1 and found["pointing"] == 1 and found["auc"] == 1 and found["ceiling"] == 1
    assert found["area"] == pytest.approx(36 / SIDE**2)


def test_a_map_beside_the_evidence_does_not() -> None:
    found = find_evidence((~square()).astype(float), square())
    assert found["share"] == 0 and found["pointing"] == 0 and found["auc"] == 0


def test_a_uniform_map_is_chance() -> None:
    found = find_evidence(np.ones((1, 5, 7)), square())
    assert found["share"] == pytest.approx(found["area"])
    assert found["pointing"] == pytest.approx(found["area"])
    assert found["auc"] == pytest.approx(0.5)


def test_a_map_of_zeros_says_nothing() -> None:
    assert all(np.isnan(values).all() for values in find_evidence(np.zeros((1, 5, 7)), square()).values())


@given(st.integers(0, 2**31))
def test_auc_is_that_of_scikit_learn_and_no_share_passes_the_ceiling(seed: int) -> None:
    heat = np.random.default_rng(seed).random((1, 6, 6)) ** 4
    found = find_evidence(heat, square())
    fine = find_evidence(np.kron(heat, np.ones((4, 4))), square())
    assert found["share"] <= found["ceiling"] + 1e-12
    pixels = np.kron(heat, np.ones((4, 4))).ravel()
    assert fine["auc"] == pytest.approx(roc_auc_score(square().ravel(), pixels))


def test_only_faces_with_a_known_truth_can_be_asked(trained: Workspace) -> None:
    with pytest.raises(UserError, match="nothing is known of where the evidence is"):
        score(trained, ScoreSettings(suites=["truth"]), device="cpu")


def test_of_a_single_cluster_there_is_no_interval(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fertool.score.suites.truth.known_planes",
        lambda evaluated: {"evidence": evaluated.region_maps == MOUTH},
    )
    monkeypatch.setattr(
        EvaluatedRun, "clusters", property(lambda evaluated: np.zeros(len(evaluated.labels), int))
    )
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", choose_compute("cpu", "fp32"))
    figures, _ = score_truth(evaluated, parse_request("gradcam"), "predicted")
    json.dumps(figures, allow_nan=False)
    record = {"run": "cnn", "group": "cnn", "split": "test", "explainer": "gradcam"}
    (table,) = truth_tables([figures | record])
    assert table.rows[0][3] == f"{100 * figures['planes']['evidence']['gradcam']['share']:.1f}"


def test_gradcam_finds_the_mouth_where_only_the_mouth_tells(tmp_path) -> None:
    """A solved task whose only evidence is the mouth: an explanation has to lie there."""
    workspace = Workspace(tmp_path)
    prepare(
        workspace,
        "synthetic",
        PrepareSettings(count=4200, evidence="mouth", classes=["happy", "surprise", "sad"]),
    )
    make_masks(workspace)
    train(workspace, TrainConfig(epochs=6, lr=2e-3, precision="fp32"), name="mouth", device="cpu")
    data = score(workspace, ScoreSettings(suites=["truth", "attention"], target="label"), device="cpu").data
    truth = data["truth"][0]
    assert truth["accuracy"] > 0.85
    maps = truth["planes"]["evidence"]
    assert maps["gradcam"]["lift"] >= 2.5
    assert maps["uniform"]["lift"] == pytest.approx(1)
    # not its AUC beside that of edges, which are fine where its cells are coarse: which is larger hangs on the machine
    assert maps["gradcam"]["lift"] > maps["edges"]["lift"]
    assert maps["gradcam"]["auc"] > maps["random"]["auc"] + 0.2
    assert data["attention"][0]["overall"]["lift"]["mouth"] >= 2.5
    with np.load(workspace.truth("test")) as stored:
        assert np.array_equal(stored["evidence"], stored["region_maps"] == MOUTH)
