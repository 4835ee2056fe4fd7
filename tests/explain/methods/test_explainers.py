"""Rules that hold for every explainer alike."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from fertool.explain.explainer import Explanation
from fertool.explain.registry import EXPLAINERS
from fertool.models import FaceClassifier

QUICK = {
    "rise": {"masks": 4},
    "occlusion": {"patch": 24, "stride": 24},
    "smoothgrad": {"samples": 2},
    "integrated-gradients": {"steps": 2},
}
MODELS = [("cnn", None), ("test_efficientnet", 96), ("test_vit", 64)]
CASES = [
    pytest.param(name, model, id=f"{name}-{model[0]}")
    for name, explainer in EXPLAINERS.items()
    for model in MODELS
    if explainer.can_explain("transformer" if "vit" in model[0] else "cnn", 6 if "vit" in model[0] else 0)
]


def explain(name: str, model: FaceClassifier, faces: Tensor, choose: Any) -> Explanation:
    return EXPLAINERS[name].explain(model, faces, choose, **QUICK.get(name, {}))


def condition(model: FaceClassifier) -> dict[str, Any]:
    """All that an explanation must leave as it finds it."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modes": [module.training for module in model.modules()],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "hooks": [len(getattr(module, kind)) for module in model.modules() for kind in hooks],
        "fused": [getattr(module, "fused_attn", None) for module in model.modules()],
        "types": [type(module) for module in model.modules()],
        "layout": [parameter.stride() for parameter in model.parameters()],
    }


@pytest.fixture
def disturbed(built):
    """A model in an odd condition: in training but for a layer, half of its parameters frozen."""

    def make(name: str, size: int | None) -> FaceClassifier:
        model = copy.deepcopy(built(name, size)).train()
        list(model.network.modules())[3].eval()
        for parameter in list(model.parameters())[::2]:
            parameter.requires_grad_(False)
        return model

    return make


@pytest.mark.parametrize(("name", "model"), CASES)
def test_the_model_comes_out_as_it_went_in(name: str, model, disturbed, faces, predicted) -> None:
    network = disturbed(*model)
    before, weights = condition(network), copy.deepcopy(network.state_dict())
    explanation = explain(name, network, faces, predicted)
    assert condition(network) == before
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert not explanation.heatmaps.requires_grad and not explanation.logits.requires_grad


@pytest.mark.parametrize(("name", "model"), CASES)
def test_also_when_something_raises(name: str, model, disturbed, faces) -> None:
    network = disturbed(*model)
    before = condition(network)

    def refuse(logits: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        explain(name, network, faces, refuse)
    assert condition(network) == before
    if EXPLAINERS[name].looks_at_target:
        with pytest.raises(RuntimeError):  # within the backward or the forward pass: a class that is none
            explain(name, network, faces, lambda logits: torch.full((len(logits), 1), 99))
        assert condition(network) == before
    with pytest.raises(RuntimeError):  # within the forward pass: pixels of five channels
        explain(name, network, torch.zeros(2, 48, 48, 5), refuse)
    assert condition(network) == before


@pytest.mark.parametrize(("name", "model"), CASES)
def test_all_classes_at_once_are_one_at_a_time_by_one_forward_pass(
    name: str, model, built, faces, fixed
) -> None:
    network, passes = built(*model), []
    handle = network.network.register_forward_hook(lambda *_: passes.append(1))
    try:
        together = explain(name, network, faces, fixed(*range(7)))
        of_all = len(passes)
        alone = [explain(name, network, faces, fixed(code)) for code in range(7)]
    finally:
        handle.remove()
    assert together.heatmaps.shape[:2] == (3, 7) and together.heatmaps.dtype == torch.float32
    assert of_all == (len(passes) - of_all) / 7
    assert together.heatmaps.abs().max() > 0
    for code, one in enumerate(alone):
        scale = one.heatmaps.abs().max()
        assert (together.heatmaps[:, code] - one.heatmaps[:, 0]).abs().max() <= 1e-5 * scale
    if name not in ("occlusion", "rise", "smoothgrad", "integrated-gradients"):
        assert of_all == 1


@pytest.mark.parametrize(("name", "model"), CASES)
def test_maps_do_not_depend_on_the_batch(name: str, model, built, faces, predicted) -> None:
    network = built(*model)
    together = explain(name, network, faces, predicted)
    for number, face in enumerate(faces):
        alone = explain(name, network, face[None], predicted)
        scale = alone.heatmaps.abs().max()
        assert (alone.heatmaps[0] - together.heatmaps[number]).abs().max() <= 1e-4 * scale
        assert torch.allclose(alone.logits[0], together.logits[number], atol=1e-4)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_inside_no_grad_and_inference_mode(name: str, model, built, faces, predicted) -> None:
    network = built(*model)
    outside = explain(name, network, faces, predicted)
    for surroundings in (torch.no_grad, torch.inference_mode):
        for pixels in (faces, faces.float()):
            with surroundings():
                inside = explain(name, network, pixels.clone(), predicted)
                assert torch.is_inference_mode_enabled() == (surroundings is torch.inference_mode)
                assert not torch.is_grad_enabled()
            assert torch.allclose(inside.heatmaps, outside.heatmaps, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_in_bfloat16(name: str, model, built, faces, predicted) -> None:
    network = built(*model)
    expected = explain(name, network, faces, predicted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = explain(name, network, faces, lambda logits: expected.logits.argmax(dim=1, keepdim=True))
    assert coarse.heatmaps.dtype == coarse.logits.dtype == torch.float32
    assert torch.allclose(coarse.logits, expected.logits, atol=0.1 * float(expected.logits.abs().max()))
    pairs = zip(coarse.heatmaps.flatten(1), expected.heatmaps.flatten(1), strict=True)
    for ours, reference in pairs:
        # what few coverings do to a logit is not much more than its 8 bits tell
        least = 0.5 if name in ("rise", "occlusion") else 0.9
        assert torch.corrcoef(torch.stack([ours, reference]))[0, 1] > least


@pytest.mark.parametrize("name", EXPLAINERS)
def test_faces_are_left_alone(name: str, built, faces, predicted) -> None:
    network = built("test_vit", 64) if EXPLAINERS[name].needs == "attention blocks" else built("cnn")
    pixels = faces.float()
    explain(name, network, pixels, predicted)
    assert torch.equal(pixels, faces.float()) and not pixels.requires_grad


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_declaration_is_complete(name: str) -> None:
    explainer = EXPLAINERS[name]
    assert explainer.explain.__doc__ and explainer.source and explainer.class_token
    assert explainer.looks_at_target == (name not in ("rollout", "attention", "all-blocks"))
