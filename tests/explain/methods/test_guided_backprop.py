import copy
import math

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam
from pytorch_grad_cam import GuidedBackpropReLUModel
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.explain.methods.cams import gradcam
from fertool.explain.methods.guided_backprop import guided_backprop, guided_gradcam
from fertool.models.classifier import FaceClassifier, InputSpec

RELU_NETWORKS = [("cnn", None), ("resnet50", 64)]


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
    model = built("resnet50", 64)
    colour = faces[:1, ..., None].expand(-1, -1, -1, 3)
    close(
        guided_backprop(model, colour, fixed(0)).heatmaps[:, 0],
        guided_backprop(model, faces[:1], fixed(0)).heatmaps[:, 0],
    )
