import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from fertool.errors import UserError
from fertool.explain.methods.gradients import input_gradient, integrated_gradients, smoothgrad
from fertool.models.classifier import FaceClassifier, InputSpec

NETWORKS = [("cnn", None), ("resnet14t", 64), ("efficientnet_b0", 64), ("vit_tiny_patch16_224", 64)]


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_input_gradient_equals_captum(name, size, built, faces, fixed, close) -> None:
    model = built(name, size)
    reference = Saliency(model).attribute(faces[:2].float().requires_grad_(), target=4, abs=False)
    close(input_gradient(model, faces[:2], fixed(4)).heatmaps[:, 0], reference.detach())


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_integrated_gradients_equal_captum(name, size, built, faces, fixed, close) -> None:
    model = built(name, size)
    reference = IntegratedGradients(model).attribute(
        faces[:2].float(), baselines=127.5, target=4, n_steps=4, method="gausslegendre"
    )
    close(integrated_gradients(model, faces[:2], fixed(4), steps=4).heatmaps[:, 0], reference.float())


@pytest.mark.parametrize(("name", "size"), [("cnn", None), ("test_resnet", 64), ("test_vit", 64)])
@pytest.mark.parametrize("baseline", [127.5, 0.0])
def test_integrated_gradients_are_complete(name, size, baseline, built, faces, fixed) -> None:
    """They add up to the logit's difference from the baseline's, to 1%."""
    model = built(name, size)
    smooth = (faces[:1].float() / 4 + 64).to(torch.uint8)
    with torch.no_grad():
        difference = model(smooth) - model(torch.full_like(smooth, baseline, dtype=torch.float32))
    codes = difference[0].abs().topk(2).indices.tolist()
    explanation = integrated_gradients(model, smooth, fixed(*codes), baseline=baseline)
    difference = difference[:, codes]
    assert (explanation.heatmaps.sum(dim=(2, 3)) - difference).abs().max() <= 0.01 * difference.abs().max()


@pytest.fixture
def linear() -> FaceClassifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    return FaceClassifier(network, "cnn", InputSpec(8, 1, (0.5,), (0.25,)), cam_layer="0")


def test_of_a_linear_model_they_are_its_weights(linear: FaceClassifier, fixed, close) -> None:
    pixels = torch.randint(0, 256, (2, 8, 8), dtype=torch.uint8)
    slope = (linear.network[1].weight[2].detach() / (255 * 0.25)).view(1, 8, 8).expand(2, -1, -1)
    close(input_gradient(linear, pixels, fixed(2)).heatmaps[:, 0], slope)
    close(smoothgrad(linear, pixels, fixed(2), samples=3).heatmaps[:, 0], slope)
    close(integrated_gradients(linear, pixels, fixed(2)).heatmaps[:, 0], slope * (pixels - 127.5))


def test_smoothgrad_is_the_mean_gradient_around_the_face(fixed, close) -> None:
    """The mean gradient of y = sum of squared pixels is 2 x, up to the noise's own mean."""

    class Squares(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.square().sum(dim=(1, 2, 3), keepdim=True)[:, :, 0, 0]

    model = FaceClassifier(Squares(), "cnn", InputSpec(8, 1, (0.0,), (1 / 255,)), cam_layer="")
    pixels = torch.randint(50, 200, (2, 8, 8)).float()
    few, many = (
        (smoothgrad(model, pixels, fixed(0), samples=samples).heatmaps[:, 0] - 2 * pixels) / 2
        for samples in (1, 256)
    )
    assert np.isclose(few.std(), 0.15 * 255, rtol=0.3), "noise of 15% of the range of grey levels"
    assert np.isclose(many.std(), 0.15 * 255 / 16, rtol=0.3)
    assert torch.allclose(few[0], few[1], atol=1e-3), "every face meets the same noise"
    close(smoothgrad(model, pixels, fixed(0), samples=2, noise=0.0).heatmaps[:, 0], 2 * pixels)


def test_smoothgrad_explains_the_class_of_the_face_without_noise(built, faces, predicted) -> None:
    model = built("cnn")
    with torch.no_grad():
        expected = model(faces)
    chosen = []
    smoothgrad(model, faces, lambda logits: chosen.append(logits) or predicted(logits), samples=2, noise=5.0)
    assert len(chosen) == 1 and torch.allclose(chosen[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("explain", "options", "message"),
    [
        (smoothgrad, {"samples": 0}, "smoothgrad@samples=0: must be 1 or more"),
        (integrated_gradients, {"steps": -1}, "integrated-gradients@steps=-1"),
    ],
)
def test_options_that_are_none(explain, options, message, built, faces, predicted) -> None:
    with pytest.raises(UserError, match=message):
        explain(built("cnn"), faces, predicted, **options)
