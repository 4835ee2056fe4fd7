"""Norms folded into convolutions: the same logits without a norm, and the network as it was afterwards."""

import pytest
import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier, build_model
from fertool.models.classifier import InputSpec
from fertool.models.structure.folded_norms import folding_norms


def with_statistics(network: nn.Module) -> None:
    """Give every norm means, variances, scales and shifts that move the logits."""
    torch.manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            with torch.no_grad():
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_()


def wrapped(network: nn.Module) -> FaceClassifier:
    torch.manual_seed(0)
    with_statistics(network)
    return FaceClassifier(network, "cnn", InputSpec(48, 1, (0.5,), (0.25,)), cam_layer="0").eval()


def norms_computed(model: FaceClassifier, inputs: Tensor) -> int:
    """The number of batch norms that a forward pass computes."""
    found = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal found
            found += "batch_norm" in function.__name__
            return function(*args, **(kwargs or {}))

    with torch.inference_mode(), Watch():
        model.logits(inputs)
    return found


@pytest.mark.parametrize(
    ("name", "size", "norms"),
    [
        ("resnet48", 48, 14),
        ("multiscale:resnet48", 48, 28),
        # convolutions that pad their own way, and norms that hold dropout and activation
        ("tf_efficientnet_lite0", 64, 49),
        ("dlibface", 112, 29),
    ],
)
def test_logits_are_the_same_without_a_norm(name: str, size: int, norms: int) -> None:
    torch.manual_seed(0)
    model = build_model(name, classes=7, image_size=size).eval()
    with_statistics(model.network)
    inputs = model.random_inputs(3)
    fold_norms = folding_norms(model)
    with torch.inference_mode():
        own = model.logits(inputs)
        for _ in range(2):  # the context may be entered again
            with fold_norms():
                torch.testing.assert_close(
                    model.logits(inputs), own, rtol=0, atol=float(1e-5 * own.abs().max())
                )
                assert norms_computed(model, inputs) == 0
        assert torch.equal(model.logits(inputs), own)
    assert norms_computed(model, inputs) == norms


class Twice(nn.Module):
    """Uses the convolution's output beside the norm's."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.convolution(inputs)
        return (self.norm(maps) - 2 * maps).mean(dim=(2, 3))


class Repeats(nn.Module):
    """Calls one convolution with two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.convolution(self.first(self.convolution(inputs)))).flatten(1)


@pytest.mark.parametrize(
    "network",
    [
        Twice(),
        Repeats(),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Flatten()),
        nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), nn.Flatten()),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()),
    ],
    ids=["used twice", "called twice", "changed in place", "the norm first", "statistics of the batch"],
)
def test_other_networks_are_left_as_they_are(network: nn.Module) -> None:
    torch.manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            norm.running_mean = torch.randn(norm.num_features)
    model = FaceClassifier(network, "cnn", InputSpec(48, 1, (0.5,), (0.25,)), cam_layer="0").eval()
    inputs = model.random_inputs(3)
    with torch.inference_mode():
        own = model.logits(inputs)
        with folding_norms(model)():
            assert torch.equal(model.logits(inputs), own)


def test_a_layer_that_is_watched_is_left_as_it_is() -> None:
    model = wrapped(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()))
    seen: list[Tensor] = []
    model.network[1].register_forward_hook(lambda _norm, _inputs, output: seen.append(output))
    with torch.inference_mode(), folding_norms(model)():
        assert norms_computed(model, model.random_inputs(2)) == 1
    assert len(seen) == 2


def test_layers_are_themselves_after_an_error() -> None:
    model = build_model("resnet48", classes=7).eval()
    parameters = dict(model.named_parameters())
    with pytest.raises(RuntimeError), folding_norms(model)():
        raise RuntimeError
    assert all("forward" not in vars(module) for module in model.modules())
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
    assert len(parameters) == len(dict(model.named_parameters()))
