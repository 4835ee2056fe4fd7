"""The ReLU behind the pooling: the same bits, and the network as it was afterwards."""

import pytest
import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier, build_model
from fertool.models.classifier import InputSpec
from fertool.models.structure.pool_first import pooling_first


def wrapped(network: nn.Module, size: int = 48) -> FaceClassifier:
    spec = InputSpec(size=size, channels=1, mean=(0.5,), std=(0.25,))
    return FaceClassifier(network, "cnn", spec, cam_layer="0").eval()


def relu_shapes(model: FaceClassifier, faces: Tensor) -> list[tuple[int, ...]]:
    """The shapes of all that is rectified while the network runs."""
    shapes: list[tuple[int, ...]] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function in (torch.ops.aten.relu.default, torch.ops.aten.clamp_.default):
                shapes.append(tuple(args[0].shape[-2:]))
            return function(*args, **(kwargs or {}))

    with torch.inference_mode(), Watch():
        model(faces)
    return shapes


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_logits_are_the_same_bits_and_relus_meet_fewer_cells(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    model = build_model("cnn", classes=7).eval()
    faces = torch.randint(0, 256, (5, 48, 48), dtype=torch.uint8)
    pool_first = pooling_first(model)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        own = model(faces)
        for _ in range(2):  # the context may be entered again
            with pool_first():
                assert torch.equal(model(faces), own)
        assert torch.equal(model(faces), own)
    assert [shape[0] for shape in relu_shapes(model, faces)][:3] == [48, 24, 12]
    with pool_first():
        assert [shape[0] for shape in relu_shapes(model, faces)][:3] == [24, 12, 6]


def test_a_network_of_two_views_pools_first_in_both() -> None:
    torch.manual_seed(0)
    model = build_model("multiscale:cnn", classes=7).eval()
    faces = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    with torch.inference_mode(), model.looking_at(torch.tensor([[8.0, 8.0, 40.0, 40.0]]).expand(3, -1)):
        own = model(faces)
        with pooling_first(model)():
            assert torch.equal(model(faces), own)
            assert [shape[0] for shape in relu_shapes(model, faces)].count(24) == 2
        assert [shape[0] for shape in relu_shapes(model, faces)].count(48) == 2


def test_odd_sides_are_cut_as_pooling_cuts_them() -> None:
    torch.manual_seed(0)
    model = wrapped(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), size=47)
    faces = torch.randint(0, 256, (3, 47, 47), dtype=torch.uint8)
    with torch.inference_mode():
        own = model(faces)
        with pooling_first(model)():
            assert relu_shapes(model, faces) == [(22, 22)]
            assert torch.equal(model(faces), own)


class Skips(nn.Module):
    """Looks between the ReLU and the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        rectified = self.layers[1](self.layers[0](inputs))
        return self.layers[2](rectified).mean(dim=(2, 3)) - rectified.mean(dim=(2, 3))


SHARED = nn.ReLU()


@pytest.mark.parametrize(
    "network",
    [
        Skips(),
        nn.Sequential(nn.Conv2d(1, 2, 3), SHARED, nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), SHARED, nn.Flatten()),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten()),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten()),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten()),
    ],
    ids=["looks between", "a shared ReLU", "pools by 3", "rounds up", "no ReLU"],
)
def test_other_networks_are_left_as_they_are(network: nn.Module) -> None:
    torch.manual_seed(0)
    model = wrapped(network)
    faces = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        own, shapes = model(faces), relu_shapes(model, faces)
        with pooling_first(model)():
            assert torch.equal(model(faces), own) and relu_shapes(model, faces) == shapes


def test_layers_are_themselves_after_an_error() -> None:
    model = build_model("cnn", classes=7).eval()
    with pytest.raises(RuntimeError), pooling_first(model)():
        raise RuntimeError
    assert all("forward" not in vars(module) for module in model.modules())
