import pytest
import timm
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.structure.cam_layer import find_cam_layer


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
