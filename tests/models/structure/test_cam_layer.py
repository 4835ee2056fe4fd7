import pytest
import timm
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.methods.cams import gradcam_abs, hirescam
from fertool.models import build_model
from fertool.models.classifier import TokenGrid, View
from fertool.models.structure.cam_layer import find_cam_layer, find_map


def zeros(size: int, channels: int = 3) -> Tensor:
    return torch.zeros(1, channels, size, size)


@pytest.mark.parametrize(
    ("size", "layer"), [(224, "layer4"), (193, "layer4"), (192, "layer3"), (112, "layer3"), (64, "layer2")]
)
def test_resnet50_is_read_where_there_are_seven_cells(size: int, layer: str) -> None:
    network = timm.create_model("resnet50", num_classes=7)
    assert find_cam_layer(network, zeros(size)) == layer


class Residual(nn.Module):
    """Convolution, a residual block that ends without an activation of its own, pooling, classifier."""

    def __init__(self, final: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.final = final
        self.classifier = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.stem(inputs)
        return self.classifier(self.final(features + self.branch(features)).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("final", "layer"),
    [
        (nn.ReLU(), "final"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()), "final"),
        (nn.MaxPool2d(2), "stem"),  # 6x6 cells behind it, and the branch is never chosen
    ],
)
def test_a_residual_branch_is_never_chosen(final: nn.Module, layer: str) -> None:
    assert find_cam_layer(Residual(final), zeros(12)) == layer


def test_two_branches_that_meet_behind_are_never_chosen() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.left, self.right = (nn.Conv2d(3, 3, 1) for _ in range(3))

        def forward(self, inputs: Tensor) -> Tensor:
            features = self.stem(inputs)
            return torch.cat([self.left(features).mean((2, 3)), self.right(features).mean((2, 3))], dim=1)

    assert find_cam_layer(Two(), zeros(8)) == "stem"


def test_maps_whose_channels_come_last() -> None:
    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.norm(self.stem(inputs).permute(0, 2, 3, 1)).mean(dim=(1, 2))

    assert find_cam_layer(ChannelsLast(), zeros(28), channels_last=True) == "norm"
    assert find_cam_layer(ChannelsLast(), zeros(28)) == "stem", "7x8 is no map of a square picture"


class Mixes(nn.Module):
    """A convolution, then a mean over all places that is given back to each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.mix = nn.AdaptiveAvgPool2d(1)
        self.spread = nn.Upsample(scale_factor=16)
        self.classifier = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.spread(self.mix(self.stem(inputs))).mean(dim=(2, 3)))


def test_a_layer_that_does_not_keep_places_is_never_chosen() -> None:
    torch.manual_seed(0)
    assert find_cam_layer(Mixes(), zeros(16)) == "stem"


class Turned(nn.Module):
    """Maps whose rows become columns: what is at the top right shows at the bottom left."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.turn, self.classifier = nn.Conv2d(3, 4, 3, padding=1), Transpose(), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.turn(self.stem(inputs)).mean(dim=(2, 3)))


class Transpose(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.transpose(2, 3)


def test_a_layer_that_takes_rows_for_columns_is_never_chosen() -> None:
    torch.manual_seed(0)
    assert find_cam_layer(Turned(), zeros(16)) == "stem"


def test_a_layer_that_was_found_by_trying_stays_with_the_weights() -> None:
    torch.manual_seed(0)
    model = build_model("convmixer_768_32", 7, image_size=49)
    assert model.cam_layer != "blocks" and model.recipe["cam_layer"] == model.cam_layer
    assert build_model(**model.recipe).cam_layer == model.cam_layer
    assert build_model("resnet18", 7).recipe["cam_layer"] is None


class Tokens(nn.Module):
    """A convolution, a norm over the channels of each cell, as tokens, and their mean."""

    def __init__(self, behind: nn.Module) -> None:
        super().__init__()
        self.stem, self.behind = nn.Conv2d(3, 8, 4, stride=4), behind
        self.norm, self.classifier = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.behind(self.stem(inputs)).flatten(2).transpose(1, 2)
        return self.classifier(self.norm(tokens).mean(dim=1))


def test_right_before_a_norm_over_channels_a_map_is_noise_and_the_norm_is_read() -> None:
    torch.manual_seed(0)
    found = find_map(Tokens(nn.Identity()), zeros(32))
    assert (found.name, found.tokens) == ("norm", TokenGrid(0, 0, 8, 8))
    network = Tokens(nn.Identity())
    seen = []
    network.norm.register_forward_hook(lambda *call: seen.append(call[2]))
    network(torch.randn(2, 3, 32, 32))
    view = View("norm", tokens=found.tokens)
    assert torch.equal(view.feature_maps(seen[0])[1, :, 2, 3], seen[0][1, 2 * 8 + 3])


@pytest.mark.parametrize(
    ("name", "layer"),
    [("twins_svt_small", "norm"), ("nest_tiny", "levels.2.pool"), ("swin_tiny_patch4_window7_224", "norm")],
)
def test_hirescam_is_no_rounding_noise_on_transformers_of_other_shapes(name: str, layer: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, 7).eval()
    assert model.cam_layer == layer
    faces = torch.randint(0, 256, (1, 48, 48), dtype=torch.uint8)
    maps = {
        explain.__name__: explain(model, faces, lambda logits: logits.argmax(dim=1, keepdim=True)).heatmaps
        for explain in (hirescam, gradcam_abs)
    }
    assert maps["hirescam"].abs().mean() > 1e-3 * maps["gradcam_abs"].mean() > 0


@pytest.mark.parametrize("training", [True, False])
def test_the_network_comes_out_as_it_went_in(training: bool) -> None:
    network = Residual(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())).train(training)
    network.final[0].eval()
    network.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    find_cam_layer(network, zeros(12))
    with pytest.raises(UserError):
        find_cam_layer(network, zeros(4))
    assert [module.training for module in network.modules()] == modes
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["stem.weight"]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_too_small_a_picture_is_one_line() -> None:
    with pytest.raises(
        UserError, match="no layer of Residual has 7x7 cells at 6 pixels: give a larger --image-size"
    ):
        find_cam_layer(Residual(nn.ReLU()), zeros(6))
