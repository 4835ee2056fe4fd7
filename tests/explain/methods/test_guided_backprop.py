import copy
import math
from collections.abc import Callable

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam
from pytorch_grad_cam import GuidedBackpropReLUModel
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.explain.methods.cams import gradcam
from fertool.explain.methods.guided_backprop import guided_backprop, guided_gradcam
from fertool.models.classifier import FaceClassifier, InputSpec

RELU_NETWORKS = [("cnn", None), ("resnet14t", 64)]


class ChannelsFirst(nn.Module):
    """A model that takes its pixels as captum has them, (B, 1, H, W)."""

    def __init__(self, model: FaceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels[:, 0])


@pytest.mark.parametrize(("name", "size"), RELU_NETWORKS)
def test_guided_backprop_equals_pytorch_grad_cam(name, size, built, faces, fixed, close) -> None:
    model = built(name, size)
    ours = guided_backprop(model, faces[:1], fixed(4)).heatmaps[:, 0]
    same_weights = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
    reference = GuidedBackpropReLUModel(same_weights)(faces[:1, ..., None].float(), target_category=4)
    rows, columns, greys = 2, 0, 1  # its transposition, meant for channels first, undone
    close(ours, torch.from_numpy(reference.transpose(rows, columns, greys))[None, ..., 0])


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize(("name", "size"), RELU_NETWORKS)
def test_both_equal_captum(name, size, built, faces, fixed, close) -> None:
    model = built(name, size)
    wrapped, pixels = ChannelsFirst(model), faces[:2, None].float()
    every = gradcam(model, faces[:2], fixed(*range(7))).heatmaps
    code = int(every.flatten(2).amax(dim=2).amin(dim=0).argmax())  # a class that Grad-CAM has something for
    target = torch.tensor([code, code])
    close(
        guided_backprop(model, faces[:2], fixed(code)).heatmaps[:, 0],
        GuidedBackprop(wrapped).attribute(pixels.clone().requires_grad_(), target=target)[:, 0].detach(),
    )
    reference = GuidedGradCam(wrapped, wrapped.model.layer(model.cam_layer)).attribute(
        pixels.clone().requires_grad_(), target=target, interpolate_mode="bilinear"
    )
    close(guided_gradcam(model, faces[:2], fixed(code)).heatmaps[:, 0], reference[:, 0].detach())


def silu_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))


def gelu_slope(x: Tensor) -> Tensor:
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density


def relu_slope(x: Tensor) -> Tensor:
    return (x > 0).float()


@pytest.mark.parametrize(
    ("activation", "slope"), [(nn.SiLU, silu_slope), (nn.GELU, gelu_slope), (nn.ReLU, relu_slope)]
)
@pytest.mark.parametrize("in_place", [False, True])
def test_the_rule_as_it_is_written(activation, slope, in_place: bool, close, fixed) -> None:
    """Two convolutions and a classifier, gone back through by hand: g_x = f'(x) g 1[g > 0] 1[x > 0]."""
    torch.manual_seed(0)
    options = {"inplace": True} if in_place and activation is not nn.GELU else {}
    first, second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
    classifier = nn.Linear(5 * 64, 4)
    network = nn.Sequential(
        first, activation(**options), second, activation(**options), nn.Flatten(), classifier
    )
    model = FaceClassifier(network, "cnn", InputSpec(8, 1, (0.4,), (0.2,)), cam_layer="3")
    pixels = torch.randint(0, 256, (2, 8, 8)).float()

    function = {nn.SiLU: F.silu, nn.GELU: F.gelu, nn.ReLU: F.relu}[activation]
    with torch.no_grad():
        x1 = first(model.preprocess(pixels))
        x2 = second(function(x1))
        g2 = classifier.weight[3].view(1, 5, 8, 8).expand(2, -1, -1, -1)
        g2 = slope(x2) * g2 * (g2 > 0) * (x2 > 0)
        g1 = F.conv_transpose2d(g2, second.weight, padding=1)
        g1 = slope(x1) * g1 * (g1 > 0) * (x1 > 0)
        expected = F.conv_transpose2d(g1, first.weight, padding=1)[:, 0] / (255 * 0.2)
        cam_weights = classifier.weight[3].view(5, 64).mean(dim=1)
        cam = torch.einsum("k,bkhw->bhw", cam_weights, function(x2)).clamp(min=0)

    close(guided_backprop(model, pixels, fixed(3)).heatmaps[:, 0], expected)
    close(guided_gradcam(model, pixels, fixed(3)).heatmaps[:, 0], expected * cam)


def test_colours_are_added_up(built, faces, fixed, close) -> None:
    """A grey face given as colour: its three gradients add up to the grey one's."""
    model = built("resnet14t", 64)
    colour = faces[:1, ..., None].expand(-1, -1, -1, 3)
    close(
        guided_backprop(model, colour, fixed(0)).heatmaps[:, 0],
        guided_backprop(model, faces[:1], fixed(0)).heatmaps[:, 0],
    )


class Functional(nn.Module):
    """Two convolutions, each behind them an activation that is called as a function, and a classifier."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.classifier = nn.Linear(6 * 64, 4)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.activation(self.second(self.activation(self.first(inputs))))
        return self.classifier(features.flatten(1))


def classifier_of(network: nn.Module) -> FaceClassifier:
    return FaceClassifier(network, "cnn", InputSpec(8, 1, (0.4,), (0.2,)), cam_layer="second")


SLOPES = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
SCALES = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 3.0]).view(1, 6, 1, 1)
RECTIFIERS = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu_(1 * x),
    "relu6": F.relu6,
    "clamp": lambda x: x.clamp(min=0),
    "leaky relu": F.leaky_relu,
    "leaky relu in place": lambda x: F.leaky_relu(1 * x, inplace=True),
    "prelu": lambda x: F.prelu(x, SLOPES),
    "elu in place": lambda x: F.elu(1 * x, inplace=True),
    "selu": F.selu,
    "celu": F.celu,
    "softplus": F.softplus,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "hard swish": F.hardswish,
    "hard swish, composed": lambda x: x * F.relu6(x + 3) / 6,
    "swish, composed": lambda x: x * x.sigmoid(),
    "quick gelu": lambda x: torch.sigmoid(1.702 * x) * x,
    "mish, composed": lambda x: x * F.softplus(x).tanh(),
    "gelu, composed": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "scaled, as in NFNets": lambda x: F.gelu(x).mul_(1.7),
    "evolved, as in EvoNorm": lambda x: x * (x * SCALES).sigmoid(),
}


@pytest.mark.parametrize("function", RECTIFIERS.values(), ids=RECTIFIERS)
def test_rectifiers_are_met_however_they_are_written(function, close, fixed) -> None:
    """The rule, gone back through by hand, with slopes from a plain backward pass of the activation alone."""
    network = Functional(function)
    model, pixels = classifier_of(network), torch.randint(0, 256, (2, 8, 8)).float()

    def back(x: Tensor, gradient: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
        return slope * gradient * (gradient > 0) * (x > 0)

    with torch.no_grad():
        x1 = network.first(model.preprocess(pixels))
        x2 = network.second(function(x1))
        g2 = back(x2, network.classifier.weight[3].view(1, 6, 8, 8).expand(2, -1, -1, -1))
        g1 = back(x1, F.conv_transpose2d(g2, network.second.weight, padding=1))
        expected = F.conv_transpose2d(g1, network.first.weight, padding=1)[:, 0] / (255 * 0.2)
    close(guided_backprop(model, pixels, fixed(3)).heatmaps[:, 0], expected)


class Own(torch.autograd.Function):
    """A square root of the size, in Python."""

    @staticmethod
    def forward(context, inputs: Tensor) -> Tensor:
        context.save_for_backward(inputs)
        return inputs.abs().sqrt()

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return gradient


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.tanh, r"no rectifiers \(TanhBackward0\)"),
        (lambda x: F.relu(x) + torch.sigmoid(x), r"no rectifiers \(SigmoidBackward0\)"),
        (lambda x: F.hardtanh(x), r"no rectifiers \(HardtanhBackward0\)"),
        (torch.abs, r"no rectifiers \(AbsBackward0\)"),
        (lambda x: torch.where(x > 0, x, 0 * x), r"no rectifiers \(WhereBackward0\)"),
        (Own.apply, r"no rectifiers \(OwnBackward\)"),
        (lambda x: 2 * x, "no rectifying activation"),
    ],
)
@pytest.mark.parametrize("explain", [guided_backprop, guided_gradcam])
def test_what_the_rule_does_not_meet_is_refused_and_never_in_silence(
    explain, function, message, fixed
) -> None:
    pixels = torch.randint(0, 256, (2, 8, 8)).float()
    with pytest.raises(UserError, match=message) as error:
        explain(classifier_of(Functional(function)), pixels, fixed(3))
    assert "take input-gradient" in str(error.value)


def test_gates_of_channels_and_of_places_are_no_activations(fixed) -> None:
    """Squeeze and excitation, and a spatial gate: they weigh maps, and bend none."""

    def gated(x: Tensor) -> Tensor:
        channels = torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))
        places = torch.sigmoid(x.mean(dim=1, keepdim=True))
        return F.relu(x) * channels * places

    pixels = torch.randint(0, 256, (2, 8, 8)).float()
    assert guided_backprop(classifier_of(Functional(gated)), pixels, fixed(3)).heatmaps.any()
