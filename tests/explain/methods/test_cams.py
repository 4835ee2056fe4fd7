import copy
from dataclasses import replace

import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.explainer import rectify
from fertool.explain.hooks import captured
from fertool.explain.methods.cams import (
    _shared_gradient,
    gradcam,
    gradcam_abs,
    gradcam_plus_plus,
    hirescam,
)
from fertool.explain.registry import EXPLAINERS
from fertool.models import build_model
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.frozen_eval import frozen_eval
from fertool.train.guidance.maps import find_linear_head, guide_map, watched

RELU_NETWORKS = [("cnn", None), ("resnet14t", 112)]
NETWORKS = [*RELU_NETWORKS, ("efficientnet_b0", 112)]
TRANSFORMERS = [
    ("vit_tiny_patch16_224", 112),
    ("test_vit4", 80),  # registers, and the patches' mean
    ("vit_medium_patch16_gap_240", 80),  # neither class token nor registers
    ("vit_small_patch14_reg4_dinov2", 70),
]
OTHERS = [
    ("convnext_atto", 112),
    ("mobilenetv3_small_100", 112),
    ("swin_tiny_patch4_window7_224", 224),
    ("deit_tiny_patch16_224", 112),
]


@pytest.mark.parametrize(("name", "size"), [*NETWORKS, *TRANSFORMERS, *OTHERS])
def test_equal_pytorch_grad_cam(name: str, size: int | None, built, faces, close) -> None:
    """Raw maps, from the activations and gradients that its own pass over the network finds."""
    model, classes = built(name, size), torch.tensor([2, 5])
    layer, inputs = model.layer(model.cam_layer), model.preprocess(faces[:2])
    with GradCAM(model.network, [layer], reshape_transform=model.feature_maps) as cam:
        cam(inputs, [ClassifierOutputTarget(int(code)) for code in classes])
        (activation,), (gradient,) = (
            cam.activations_and_grads.activations,
            cam.activations_and_grads.gradients,
        )
    pairs = [(gradcam, GradCAM), (hirescam, HiResCAM)]
    if (name, size) in RELU_NETWORKS:  # of signed maps we count a negative sum as 0
        pairs.append((gradcam_plus_plus, GradCAMPlusPlus))
    for ours, method in pairs:
        with method(model.network, [layer]) as cam:
            image = cam.get_cam_image(inputs, layer, [], activation.detach().numpy(), gradient.numpy(), False)
        explanation = ours(model, faces[:2], lambda logits: classes[:, None])
        close(explanation.heatmaps[:, 0], torch.from_numpy(image))


@pytest.mark.parametrize(("name", "size"), [("cnn", None), ("resnet14t", 112)])
def test_gradcam_equals_captum(name: str, size: int | None, built, faces, predicted, close) -> None:
    model = built(name, size)
    ours = gradcam(model, faces[:2], predicted)
    reference = LayerGradCam(model.network, model.layer(model.cam_layer)).attribute(
        model.preprocess(faces[:2]), target=ours.logits.argmax(dim=1), relu_attributions=False
    )
    close(ours.heatmaps[:, 0], reference[:, 0].detach())


@pytest.mark.parametrize(("name", "size"), [*NETWORKS, ("mobilenetv3_small_100", 112)])
def test_the_absolute_equals_captums_gradient_times_activation(
    name: str, size: int | None, built, faces, fixed, close
) -> None:
    model = built(name, size)
    reference = LayerGradientXActivation(model.network, model.layer(model.cam_layer)).attribute(
        model.preprocess(faces[:2]), target=3
    )
    close(gradcam_abs(model, faces[:2], fixed(3)).heatmaps[:, 0], reference.detach().abs().sum(dim=1))


@pytest.mark.parametrize("name", ["cnn", "cnn-gap"])
@pytest.mark.parametrize(
    ("kind", "explainer"), [("abs", "gradcam-abs"), ("relu", "gradcam"), ("signed", "gradcam-size")]
)
def test_what_is_scored_is_the_map_that_guides(
    kind: str, explainer: str, name: str, built, faces, close
) -> None:
    """Whichever way training makes it: in closed form, or by a gradient that can be differentiated again."""
    model, classes = built(name), torch.tensor([2, 5, 0])
    scored = EXPLAINERS[explainer]
    raw = scored.explain(model, faces, lambda logits: classes[:, None]).heatmaps[:, 0]
    linear_head = find_linear_head(model)
    assert (linear_head is not None) == (name == "cnn-gap")
    with watched(model, "gradcam", linear_head) as watch:
        logits = model(faces)
    guiding = guide_map(watch, logits, nn.functional.one_hot(classes, 7).float(), kind).detach()
    assert (guiding < 0).any() == (kind == "signed")  # of which guidance takes shares by size
    close(torch.from_numpy(rectify(raw.numpy(), scored.negatives)), guiding.abs())


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [("convnext_atto", 112, 7), ("swin_tiny_patch4_window7_224", 224, 7), ("deit_tiny_patch16_224", 112, 7)],
)
def test_grids(name: str, size: int, grid: int, built, faces, predicted) -> None:
    assert gradcam(built(name, size), faces[:2], predicted).heatmaps.shape == (2, 1, grid, grid)


def test_known_answer(faces) -> None:
    """A head that takes the mean of feature map 3: the Grad-CAM of its logit is that map over its cells."""
    model = build_model("cnn", 7)
    network = model.network
    network.pool3 = nn.Identity()
    network.flatten = nn.Sequential(nn.Flatten(2), PickMean(channel=3))
    network.hidden = network.hidden_relu = network.classifier = nn.Identity()
    explanations = [
        explain(model, faces, lambda logits: torch.zeros(len(logits), 1, dtype=torch.int64))
        for explain in (gradcam, hirescam)
    ]
    with frozen_eval(model), captured(model, "relu3") as activation:
        model(faces)
    expected = activation.value[:, 3].detach() / 144
    for explanation in explanations:
        assert torch.allclose(explanation.heatmaps[:, 0], expected, atol=1e-6)


class PickMean(nn.Module):
    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, features: Tensor) -> Tensor:
        return features[:, self.channel].mean(dim=1, keepdim=True)


class NormedCells(nn.Module):
    """A 3x3 convolution, perhaps a normalisation of each cell over its channels, and a classifier of all cells."""

    def __init__(self, normed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8, eps=0) if normed else nn.Identity()
        self.classifier = nn.Linear(8 * 64, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        cells = self.norm(self.maps(inputs).permute(0, 2, 3, 1))
        return self.classifier(cells.flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hirescam_refuses_a_layer_before_a_norm_over_channels(dtype: torch.dtype, fixed) -> None:
    pixels = torch.randint(0, 256, (3, 8, 8)).float()
    for normed in (False, True):
        model = FaceClassifier(NormedCells(normed), "cnn", InputSpec(8, 1, (0.4,), (0.2,)), cam_layer="maps")
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            if normed:
                with pytest.raises(UserError, match="maps lies before a normalisation over channels"):
                    hirescam(model, pixels, fixed(1))
            else:
                assert hirescam(model, pixels, fixed(1)).heatmaps.any()
            assert gradcam(model, pixels, fixed(1)).heatmaps.any()


def test_gradcam_plus_plus_is_continuous_where_its_denominator_was_zero(close) -> None:
    """2 G^2 + G^3 sum(A) vanishes at sum(A) = -2 / G: a hair to either side the map is the same."""
    gradient = torch.full((1, 1, 2, 2), 0.5)
    maps = torch.tensor([[[[-3.0, -2.0], [-1.0, 2.0]]]])  # adds up to -4
    combined = [_shared_gradient(maps + moved, gradient) for moved in (-1e-3, 0, 1e-3)]
    assert (combined[0] - combined[2]).abs().max() < 1e-2
    # alpha is 1/2, so that the weight is half of the positive gradients' sum
    close(combined[1], maps[:, 0] * 0.5 * gradient.sum())


def test_an_in_place_layer_behind_the_cam_layer_does_not_spoil_the_maps(faces, predicted) -> None:
    torch.manual_seed(0)
    model = build_model("cnn", 7)
    expected = gradcam(model, faces, predicted)
    model.network.pool3 = nn.Sequential(TimesInPlace(2), model.network.pool3, TimesInPlace(0.5))
    spoiled = gradcam(model, faces, predicted)
    assert torch.allclose(spoiled.logits, expected.logits)
    assert torch.allclose(spoiled.heatmaps, expected.heatmaps, atol=1e-7)


class TimesInPlace(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        return features.mul_(self.factor)


def test_another_layer_is_read_where_the_option_names_one(built, faces, predicted, close) -> None:
    """As if the model had been built with it; for a transformer, whose layers give tokens, likewise."""
    for name, size, layer in (("cnn", None, "relu2"), ("test_vit", 64, "blocks.2")):
        model = built(name, size)
        moved = copy.deepcopy(model)
        moved.views = (replace(model.views[0], cam_layer=layer),)
        for explainer in ("gradcam", "gradcam-size", "hirescam", "gradcam-abs", "gradcam++"):
            ours = EXPLAINERS[explainer].explain(model, faces, predicted, layer=layer)
            close(ours.heatmaps[:, 0], EXPLAINERS[explainer].explain(moved, faces, predicted).heatmaps[:, 0])
    ours = EXPLAINERS["guided-gradcam"].explain(built("cnn"), faces, predicted, layer="relu2")
    assert not torch.allclose(
        ours.heatmaps, EXPLAINERS["guided-gradcam"].explain(built("cnn"), faces, predicted).heatmaps
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "relu9",
            "layer=relu9: no such layer; nearest are relu.*; the default is relu3; there are conv1, relu1, ",
        ),
        ("classifier", "layer=classifier: gives no map of the image"),
    ],
)
def test_a_layer_that_there_is_not_names_those_there_are(built, faces, predicted, layer, message) -> None:
    for name in ("gradcam", "guided-gradcam"):
        with pytest.raises(UserError, match=message) as error:
            EXPLAINERS[name].explain(built("cnn"), faces, predicted, layer=layer)
        assert "\n" not in str(error.value)
