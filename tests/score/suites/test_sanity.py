import copy
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from fertool.explain.explainer import Explainer, Explanation
from fertool.explain.registry import Request, parse_request
from fertool.models import FaceClassifier, predict_logits
from fertool.models.initial_model import initial_model
from fertool.models.registry import build_model
from fertool.models.structure.layers import classifier_layer, layers_by_depth, parameterised_layers
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.sanity import (
    READINGS,
    changes,
    marked,
    randomise,
    rank_correlation,
    sanity_tables,
    score_sanity,
)
from fertool.workspace import Workspace

CPU = Compute(torch.device("cpu"), "fp32")
FACES = 24


@pytest.fixture
def evaluated(trained: Workspace) -> EvaluatedRun:
    return EvaluatedRun(trained, trained.run("cnn"), "test", CPU)


def explainer_that(explain: Callable[[FaceClassifier, Tensor], Tensor]) -> Request:
    """An explainer whose maps (B, h, w) `explain` makes of a model and pixels."""

    def explain_batch(model, pixels, choose, **options) -> Explanation:
        logits = model(pixels).detach()
        return Explanation(explain(model, pixels)[:, None].detach(), logits)

    return Request(replace(parse_request("gradcam").explainer, name="made-up", explain=explain_batch))


def test_rank_correlation_is_scipys_on_every_face_also_with_ties() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 9, (2, 6, 5, 4))
    expected = [
        spearmanr(one.ravel(), other.ravel()).statistic for one, other in zip(first, second, strict=True)
    ]
    assert rank_correlation(first, second) == pytest.approx(expected)


def test_rank_correlation_of_maps_that_are_constant() -> None:
    rising, flat = np.arange(12.0).reshape(1, 3, 4), np.zeros((1, 3, 4))
    assert rank_correlation(rising, rising**3) == pytest.approx([1])
    assert rank_correlation(rising, -rising) == pytest.approx([-1])
    assert np.isnan(rank_correlation(rising, flat)) and rank_correlation(flat, flat + 2) == [1]


def test_layers_come_in_the_order_in_which_they_compute() -> None:
    cnn = build_model("cnn", 7)
    assert parameterised_layers(cnn) == ["conv1", "conv2", "conv3", "hidden", "classifier"]
    assert classifier_layer(cnn) == "classifier"
    vit = build_model("vit_tiny_patch16_224", 7)
    layers = parameterised_layers(vit)
    assert layers[:2] == ["", "patch_embed.proj"] and layers[-1] == classifier_layer(vit) == "head"
    assert layers.index("blocks.3.mlp.fc2") < layers.index("blocks.4.norm1")
    resnet = build_model("resnet18", 7)
    layers = parameterised_layers(resnet)
    assert layers[:2] == ["conv1", "bn1"] and layers[-1] == "fc"


def test_layers_of_both_branches_become_random_together() -> None:
    groups = layers_by_depth(build_model("multiscale:cnn", 7))
    assert list(groups) == ["classifier", "hidden", "conv3", "conv2", "conv1"]
    assert groups["classifier"] == ["classifier"]
    assert sorted(groups["conv3"]) == ["branches.0.conv3", "branches.1.conv3"]
    assert layers_by_depth(build_model("cnn", 7)) == {name: [name] for name in groups}


@pytest.mark.parametrize("name", ["cnn", "resnet18", "vit_tiny_patch16_224"])
def test_randomising_every_layer_gives_the_fresh_model(name: str) -> None:
    model, fresh = build_model(name, 7), initial_model(build_model(name, 7).recipe, seed=5)
    for layer in parameterised_layers(model):
        randomise(model.layer(layer), fresh.layer(layer))
    expected = fresh.network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.network.state_dict().items())


def test_a_layer_is_randomised_alone() -> None:
    model, fresh = build_model("cnn", 7), build_model("cnn", 7)
    before = copy.deepcopy(model.network.state_dict())
    randomise(model.layer("hidden"), fresh.layer("hidden"))
    changed = {
        key for key, value in model.network.state_dict().items() if not torch.equal(value, before[key])
    }
    assert "hidden.weight" in changed <= {"hidden.weight", "hidden.bias"}  # a bias may start at 0


def test_initial_model_is_what_training_begins_with_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    expected = build_model("cnn", 7).network.state_dict()
    torch.manual_seed(11)
    untouched = torch.rand(1)
    torch.manual_seed(11)
    model = initial_model({"name": "cnn", "classes": 7, "dropout": None, "image_size": None}, seed=3)
    assert torch.equal(torch.rand(1), untouched)
    assert all(torch.equal(value, expected[key]) for key, value in model.network.state_dict().items())
    assert not model.training


def test_a_map_of_the_picture_alone_is_marked(evaluated: EvaluatedRun) -> None:
    request = explainer_that(lambda model, pixels: pixels.float())
    figures, columns = score_sanity(evaluated, request, faces=FACES, draws=1)
    assert [step["similarity"]["rectified"]["mean"] for step in figures["steps"]] == pytest.approx([1] * 5)
    assert not figures["changes"] and marked(figures)
    assert np.nansum(columns["similarity"]) == pytest.approx(FACES)
    assert np.isnan(columns["similarity"]).sum() == len(evaluated.faces) - FACES


def test_a_map_of_the_weights_is_not_marked_and_changes_with_its_own_layer(evaluated: EvaluatedRun) -> None:
    """A map that is the weights of the third convolution is the same until that layer is random."""
    request = explainer_that(
        lambda model, pixels: model.layer("conv3").weight[:8, :8, 0, 0].expand(len(pixels), 8, 8)
    )
    figures, _ = score_sanity(evaluated, request, faces=FACES, draws=4)
    similarity = {step["layer"]: step["similarity"]["raw"]["mean"] for step in figures["steps"]}
    assert list(similarity) == ["classifier", "hidden", "conv3", "conv2", "conv1"]
    assert similarity["classifier"] == similarity["hidden"] == pytest.approx(1)
    assert abs(similarity["conv1"]) < 0.3 and similarity["conv1"] == similarity["conv3"]
    assert not marked(figures)


def test_grad_cam_changes_and_nulls_that_know_no_weights_do_not(evaluated: EvaluatedRun) -> None:
    before = copy.deepcopy(evaluated.model.state_dict())
    figures, _ = score_sanity(evaluated, parse_request("gradcam"), faces=FACES)
    json.dumps(figures, allow_nan=False)
    assert not marked(figures)
    assert abs(figures["nulls"]["random"]["raw"]["mean"]) < 0.2
    assert figures == score_sanity(evaluated, parse_request("gradcam"), faces=FACES)[0]
    after = evaluated.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    for null in ("uniform", "edges", "centre"):
        assert marked(score_sanity(evaluated, parse_request(f"{null}@of=gradcam"), faces=FACES, draws=1)[0])


def test_the_class_explained_stays_the_trained_models(evaluated: EvaluatedRun) -> None:
    seen: list[Tensor] = []
    gradcam: Explainer = parse_request("gradcam").explainer

    def explain(model, pixels, choose, **options) -> Explanation:
        explanation = gradcam.explain(model, pixels, choose)
        seen.append(choose(explanation.logits)[:, 0])
        return explanation

    score_sanity(evaluated, Request(replace(gradcam, explain=explain)), faces=len(evaluated.faces), draws=1)
    assert len(seen) == 6
    assert all((codes.numpy() == evaluated.predicted).all() for codes in seen)


def test_rollout_does_not_see_the_layer_of_the_logits(trained: Workspace) -> None:
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", CPU)
    model = initial_model(
        {"name": "vit_tiny_patch16_224", "classes": 7, "dropout": None, "image_size": 64}, seed=0
    )
    evaluated.__dict__.update(model=model, logits=predict_logits(model, evaluated.faces, CPU))
    figures, _ = score_sanity(evaluated, parse_request("rollout"), faces=6, draws=1)
    assert len(figures["steps"]) == 10 and figures["steps"][-1]["layer"] == "tokens and positions"
    assert figures["steps"][0]["similarity"]["raw"]["mean"] == pytest.approx(1)
    assert figures["steps"][-1]["similarity"]["raw"]["mean"] < 0.99
    (table,) = sanity_tables([figures | {"run": "vit", "split": "test"}])
    assert any("does not look at the class" in note for note in table.notes)


@pytest.mark.parametrize(
    ("similarity", "swapped", "expected"),
    [
        (0.0, 0.0, True),
        (0.6, 0.9, False),  # the same map for every face, with weights and without
        (0.4, 0.05, False),  # follows the picture
        (0.4, 0.35, True),
        (0.1, -0.3, True),
        (float("nan"), 0.1, True),
        (0.1, float("nan"), True),
    ],
)
def test_when_a_map_counts_as_changed(similarity: float, swapped: float, expected: bool) -> None:
    assert changes(similarity, swapped) is expected


def test_of_a_single_cluster_there_is_no_interval(evaluated: EvaluatedRun) -> None:
    evaluated.__dict__["clusters"] = np.zeros(len(evaluated.faces), dtype=int)
    figures, _ = score_sanity(evaluated, parse_request("gradcam"), faces=5, draws=1)
    json.dumps(figures, allow_nan=False)
    last = figures["steps"][-1]["similarity"]["raw"]
    assert last["interval"] == [None, None]
    (table,) = sanity_tables([figures | {"run": "cnn", "split": "test"}])
    raw = table.rows[READINGS.index("raw")]
    assert raw[1 + len(figures["steps"])] == f"{last['mean']:.2f}"


def test_tables_of_runs_with_other_layers_are_apart(evaluated: EvaluatedRun) -> None:
    figures, _ = score_sanity(evaluated, parse_request("gradcam"), faces=5, draws=1)
    scored = figures | {"run": "a", "split": "test", "changes": True}
    other = scored | {"run": "b", "steps": scored["steps"][:3], "changes": False}
    tables = sanity_tables([scored, other])
    assert [len(table.rows) for table in tables] == [len(READINGS)] * 2
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert tables[0].rows[0][-1] == "yes" and tables[1].rows[0][-1] == "hardly: marked"
