"""Explainers of the user's own: read by their rules, tried, and scored beside the others."""

import json
import shutil
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from fertool.cli import app
from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain, rules
from fertool.explain.in_memory import unstored_heatmaps
from fertool.explain.registry import as_request, parse_request, stored_request
from fertool.models import FaceClassifier, build_model
from fertool.runtime.hardware import choose_compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.gather import gather_scores
from fertool.score.suites.sanity import score_sanity
from fertool.workspace import Workspace

CPU = choose_compute("cpu", "fp32")


@rules(negatives="drop", looks_at_target=True)
def own_gradcam(model: FaceClassifier, faces: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM, written again in the plainest way."""
    kept = []
    hook = model.layer(model.cam_layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = model(faces)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept[0])
    return (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1)


@rules(negatives="absolute", looks_at_target=False)
def brightness(_model: FaceClassifier, faces: Tensor, _classes: Tensor, offset: float = 0.0) -> np.ndarray:
    return faces.numpy().astype(np.float64)[:, ::4, ::4] - offset


def undeclared(_model: FaceClassifier, faces: Tensor, _classes: Tensor) -> Tensor:
    return faces.float()


@rules(negatives="drop", looks_at_target=False)
def follows_target(_model: FaceClassifier, faces: Tensor, classes: Tensor) -> Tensor:
    return faces.float() * (1 + classes[:, None, None])


@rules(negatives="drop", looks_at_target=True)
def follows_batch(_model: FaceClassifier, faces: Tensor, _classes: Tensor) -> Tensor:
    return faces.float() - faces.float().mean()


@rules(negatives="drop", looks_at_target=True)
def random_maps(_model: FaceClassifier, faces: Tensor, _classes: Tensor) -> Tensor:
    return torch.rand(len(faces), 7, 7)


@rules(negatives="drop", looks_at_target=True)
def failing(_model: FaceClassifier, faces: Tensor, _classes: Tensor) -> Tensor:
    raise ValueError("no such layer\nand more")


@rules(negatives="drop", looks_at_target=True)
def without_numbers(_model: FaceClassifier, faces: Tensor, _classes: Tensor) -> Tensor:
    return faces.float() * torch.nan


@rules(negatives="drop", looks_at_target=True)
def one_number(_model: FaceClassifier, faces: Tensor, _classes: Tensor) -> Tensor:
    return faces.float().mean(dim=(1, 2))


@rules(negatives="drop", looks_at_target=True)
def no_tensor(_model: FaceClassifier, _faces: Tensor, _classes: Tensor) -> list:
    return []


@rules(negatives="drop", looks_at_target=True)
def two_arguments(_model: FaceClassifier, faces: Tensor) -> Tensor:
    return faces.float()


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    others = shutil.ignore_patterns("heatmaps", "predictions", "scores")
    return Workspace(shutil.copytree(trained.root, tmp_path / "copy", ignore=others))


@pytest.fixture(scope="module")
def model() -> FaceClassifier:
    return build_model("cnn", 7).eval()


def faces_of(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def test_a_function_that_is_gradcam_has_its_maps_shares_and_sanity(workspace: Workspace) -> None:
    request = as_request(own_gradcam)
    assert request.key == f"{__name__}:own_gradcam" and request.looks_at_target
    shares = {}
    for explainer in ("gradcam", own_gradcam):
        settings = ScoreSettings(explainer, suites=["attention"], target="label")
        (figures,) = score(workspace, settings, device="cpu").data["attention"]
        shares[explainer] = figures["overall"]["share"]
    assert shares["gradcam"] == {
        region: pytest.approx(share, abs=1e-5) for region, share in shares[own_gradcam].items()
    }
    run = workspace.run("cnn")
    own = np.load(run.heatmaps(request.key, "label", "test"))
    assert np.allclose(own, np.load(run.heatmaps("gradcam", "label", "test")), atol=1e-6)
    evaluated = EvaluatedRun(workspace, run, "test", CPU)
    sanity = [
        score_sanity(evaluated, each, faces=4, draws=1)[0]["steps"]
        for each in (request, parse_request("gradcam"))
    ]
    for ours, theirs in zip(*sanity, strict=True):
        assert ours["similarity"]["raw"]["mean"] == pytest.approx(
            theirs["similarity"]["raw"]["mean"], abs=1e-3
        )


def test_rules_are_those_that_are_declared(model: FaceClassifier) -> None:
    request = as_request(brightness)
    assert request.explainer.negatives == "absolute" and not request.looks_at_target
    assert request.explainer.options == {"offset": 0.0}
    maps = unstored_heatmaps(model, request, faces_of(), CPU)
    assert maps.shape == (3, 12, 12) and maps.dtype == np.float32
    assert np.array_equal(maps, faces_of()[:, ::4, ::4])


def test_the_model_is_left_as_it_was(model: FaceClassifier) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    unstored_heatmaps(model, as_request(own_gradcam), faces_of(), CPU)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (undeclared, "declares no rules; put @rules"),
        (two_arguments, r"must take \(model, faces, classes\)"),
        (follows_target, "another map for another class; declare looks_at_target=True"),
        (follows_batch, "the same face another map the next time, or beside another face"),
        (random_maps, "the same face another map the next time"),
        (failing, r"failed at test_own\.py, line \d+ \(ValueError: no such layer\)"),
        (without_numbers, "gave face 0 of a batch cells that are nan or infinite"),
        (one_number, r"returned shape \(2,\), not \(2, h, w\)"),
        (no_tensor, "returned list, not heatmaps"),
        (lambda model, faces, classes: faces, "define the function by a name at the top of a module"),
    ],
)
def test_what_is_no_explainer_is_one_line(model: FaceClassifier, function, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        unstored_heatmaps(model, as_request(function), faces_of(1), CPU)
    assert "\n" not in str(error.value)


def test_a_rule_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"negatives='clip'\): must be one of 'drop', 'absolute'"):
        rules(negatives="clip", looks_at_target=True)


MODULE = """
    from fertool.explain import rules

    @rules(negatives="absolute", looks_at_target=False)
    def stripes(model, faces, classes, every=8):
        return faces.float()[:, ::every, ::every] - 128
"""


def test_from_the_command_line_and_read_where_its_module_is_not(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stripes_of_mine.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    key = "stripes_of_mine:stripes@every=4"
    common = ["-w", str(workspace.root), "--explainer", key, "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, ["score", *common, "--suite", "attention", "--run", "cnn"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["attention"][0]
    record = json.loads(
        workspace.run("cnn").heatmaps(key, "predicted", "test").with_suffix(".json").read_text()
    )
    assert record["negatives"] == "absolute" and record["grid"] == [12, 12] and record["target"] == "ignored"

    (tmp_path / "stripes_of_mine.py").unlink()
    monkeypatch.delitem(sys.modules, "stripes_of_mine")
    with pytest.raises(UserError, match="no module 'stripes_of_mine'; run from the folder that holds it"):
        parse_request(key)
    assert stored_request(key).key == key
    (gathered,) = [
        each
        for each in gather_scores(workspace, workspace.runs(), "test")
        if each.settings.request.key == key
    ]
    assert gathered.scores[0]["overall"]["share"] == figures["overall"]["share"]


def test_another_source_makes_other_maps(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"explainers": ["changed_of_mine:stripes"], "device": "cpu"}
    place = workspace.run("cnn").heatmaps("changed_of_mine:stripes", "predicted", "test")
    for every in (8, 16):
        monkeypatch.delitem(sys.modules, "changed_of_mine", raising=False)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        text = textwrap.dedent(MODULE).replace("every=8", f"every={every}")
        (tmp_path / "changed_of_mine.py").write_text(text)
        explain(workspace, ExplainSettings(**settings))
        assert np.load(place, mmap_mode="r").shape[1] == 48 // every
    assert "up to date" in explain(workspace, ExplainSettings(**settings)).notes[0]
