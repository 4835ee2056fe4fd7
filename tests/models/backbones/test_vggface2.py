"""The published files' networks are rebuilt here from their definitions, by means of torchvision."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models import build_model, save_model
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import find_weights

MEAN_BGR = torch.tensor([91.4953, 103.8827, 131.0912]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """resnet50_ft with weights of noise and fewer identities.

    Its stride is in the first 1x1 convolutions, and its pooling rounds up.
    """
    torch.manual_seed(0)
    network = torchvision.models.resnet50(num_classes=31).eval()
    network.maxpool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.2, 0.8)
    return network


def features(network: nn.Module, inputs: Tensor) -> Tensor:
    head, network.fc = network.fc, nn.Identity()
    with torch.inference_mode():
        output = network(inputs)
    network.fc = head
    return output


def dag_name(name: str) -> str:
    """As in resnet50_ft_dag.py: the name of torchvision's layer1.0.conv1.weight is conv2_1_1x1_reduce.weight."""
    module, _, value = name.rpartition(".")
    if module in ("conv1", "bn1", "fc"):
        return {"conv1": "conv1_7x7_s2", "bn1": "conv1_7x7_s2_bn", "fc": "classifier"}[module] + f".{value}"
    stage, block, *part = module.removeprefix("layer").split(".")
    parts = {"conv1": "1x1_reduce", "conv2": "3x3", "conv3": "1x1_increase", "downsample.0": "1x1_proj"}
    parts |= {
        "bn1": "1x1_reduce_bn",
        "bn2": "3x3_bn",
        "bn3": "1x1_increase_bn",
        "downsample.1": "1x1_proj_bn",
    }
    return f"conv{int(stage) + 1}_{int(block) + 1}_{parts['.'.join(part)]}.{value}"


def save_dag(network: nn.Module, folder: Path) -> None:
    state = {
        dag_name(name): value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    state["classifier.weight"] = state["classifier.weight"][:, :, None, None]  # a 1x1 convolution
    torch.save(state, folder / "resnet50_ft_dag.pth")


def save_pickle(network: nn.Module, folder: Path) -> None:
    """The same network, as published for BGR."""
    arrays = {
        name: (value.flip(1) if name == "conv1.weight" else value).numpy()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    (folder / "resnet50_ft_weight.pkl").write_bytes(pickle.dumps(arrays, protocol=2))


@pytest.mark.parametrize("save", [save_dag, save_pickle])
def test_both_files_give_the_published_features(
    published: nn.Module, tmp_path: Path, save: Callable[[nn.Module, Path], None]
) -> None:
    save(published, tmp_path)
    weights = find_weights("vggface2", weights_dir=tmp_path)
    assert (weights.name, weights.path) == ("vggface2", next(tmp_path.iterdir()))
    model = build_model("vggface2", 7, image_size=64).eval()
    head = model.network.fc.weight.clone()
    load_weights(model, weights)
    faces = torch.randint(0, 256, (2, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    rgb = faces.permute(0, 3, 1, 2).float() - MEAN_BGR.flip(1)
    expected = features(published, rgb)
    assert torch.allclose(features(model.network, model.preprocess(faces)), expected, atol=1e-4)
    assert not torch.allclose(features(published, rgb.flip(1)), expected, atol=1e-2), (
        "the colours' order tells"
    )
    assert torch.equal(model.network.fc.weight, head), "the head stays new"
    assert model.layer("layer4")[0].conv1.stride == (2, 2)


def test_a_file_that_does_not_say_its_colours_is_refused(published: nn.Module, tmp_path: Path) -> None:
    torch.save(published.state_dict(), tmp_path / "converted.pth")
    model = build_model("vggface2", 7, image_size=64)
    with pytest.raises(
        UserError, match=r"RGB or BGR cannot be told; give one of the files resnet50_ft_dag\.pth"
    ):
        load_weights(model, find_weights("vggface2", str(tmp_path / "converted.pth")))
    save_model(model, tmp_path / "best.safetensors")
    other = build_model("vggface2", 3, image_size=64)
    load_weights(other, find_weights("vggface2", str(tmp_path / "best.safetensors")))
    assert torch.equal(other.network.conv1.weight, model.network.conv1.weight)


def test_the_first_name_that_is_missing_is_said(published: nn.Module, tmp_path: Path) -> None:
    save_dag(published, tmp_path)
    path = tmp_path / "resnet50_ft_dag.pth"
    state = torch.load(path)
    del state["conv3_2_3x3.weight"]
    torch.save(state, path)
    model = build_model("vggface2", 7, image_size=64)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    with pytest.raises(
        UserError, match=r"not the weights of vggface2: there is no layer2\.1\.conv2\.weight in it"
    ):
        load_weights(model, find_weights("vggface2", weights_dir=tmp_path))
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize(("size", "layer"), [(224, "layer4"), (112, "layer3"), (48, "layer1")])
def test_other_sizes(size: int, layer: str) -> None:
    model = build_model("vggface2", 7, image_size=size)
    assert (model.family, model.cam_layer, model.input_spec.size) == ("cnn", layer, size)
