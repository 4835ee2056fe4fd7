import sys
from pathlib import Path

import pytest
import torch

from fertool.errors import UserError
from fertool.models import build_model, load_model, save_model
from fertool.models.backbones.user_network import source_files
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import find_weights

MODULE = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, classes=7, channels=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.out = nn.Linear(8, classes)

    def forward(self, inputs):
        return self.out(self.body(self.stem(inputs)).mean((2, 3)))

def make(num_classes):
    return Small(num_classes)

def grey(num_classes=7):
    return Small(num_classes, channels=1)

def seven():
    return Small()

def headless(num_classes):
    return nn.Sequential(nn.Conv2d(3, num_classes, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def attends(num_classes):
    import timm
    return timm.create_model("test_vit", num_classes=num_classes, img_size=64)

def normed(num_classes):
    network = attends(num_classes)
    network.head = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, num_classes))
    return network

def pair(num_classes):
    class Pair(Small):
        def forward(self, inputs):
            return super().forward(inputs), None
    return Pair(num_classes)

class Twice(Small):
    def __init__(self, classes):
        super().__init__(classes)
        self.features = nn.Sequential(self.stem, self.body)

def twice(num_classes):
    return Twice(num_classes)

class Auxiliary(Small):
    def forward(self, inputs):
        logits = super().forward(inputs)
        return (logits, logits) if self.training else logits

def auxiliary(num_classes):
    return Auxiliary(num_classes)

def number():
    return 3

def scripted(num_classes):
    return torch.jit.script(Small(num_classes))

class Squeezes(Small):
    def forward(self, inputs):
        return self.out(nn.functional.adaptive_avg_pool2d(self.body(self.stem(inputs)), 1).squeeze())

def squeezes(num_classes):
    return Squeezes(num_classes)

def probabilities(num_classes):
    return nn.Sequential(Small(num_classes), nn.Softmax(dim=1))

def fails():
    raise RuntimeError("no\\nluck")

constant = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "nets.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import not_a_module_at_all")
    (tmp_path / "fails.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "mine.nets", "broken", "fails"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    return tmp_path


def test_a_network_of_the_current_folder() -> None:
    model = build_model("mine.nets:make", 5, image_size=48)
    assert (model.family, model.cam_layer, model.head) == ("cnn", "body", "out")
    assert model.input_spec.mean == (0.485, 0.456, 0.406)
    assert model(torch.zeros(2, 48, 48)).shape == (2, 5)


def test_what_gives_more_than_logits_while_it_trains_is_one_line() -> None:
    model = build_model("mine.nets:auxiliary", 5, image_size=48)
    assert model.eval()(torch.zeros(2, 48, 48)).shape == (2, 5)
    with pytest.raises(UserError, match=r"mine\.nets:auxiliary: returns tuple, not logits"):
        model.train()(torch.zeros(2, 48, 48))


def test_its_options() -> None:
    model = build_model(
        "mine.nets:grey", 7, image_size=64, channels=1, mean=(0.2,), std=(0.5,), cam_layer="stem"
    )
    assert (model.cam_layer, model.input_spec.size, model.input_spec.channels) == ("stem", 64, 1)
    white = model.preprocess(torch.full((1, 48, 48), 255))
    assert torch.allclose(white, torch.full((1, 1, 64, 64), (1 - 0.2) / 0.5))


def test_a_vision_transformer_is_explained_as_one() -> None:
    model = build_model("mine.nets:attends", 7, image_size=64)
    assert model.family == "transformer" and model.tokens.rows == 4
    assert model.attention_blocks and model.head == "head"


def test_weights_get_into_a_transformer_of_timms_that_is_ones_own(tmp_path: Path) -> None:
    model, other = (build_model("mine.nets:attends", classes, image_size=64) for classes in (7, 3))
    save_model(model, tmp_path / "best.safetensors")
    taken = load_weights(other, find_weights("mine.nets:attends", str(tmp_path / "best.safetensors")))
    assert (
        str(taken)
        == f"backbone {len(model.network.state_dict()) - 2} tensors; new head for 3 classes (the file's had 7)"
    )
    assert torch.equal(other.network.blocks[0].attn.qkv.weight, model.network.blocks[0].attn.qkv.weight)


def test_a_network_without_a_last_layer_for_the_classes_is_all_head() -> None:
    assert build_model("mine.nets:headless", 7, image_size=48).head == ""


def test_its_source_is_all_of_its_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pack", raising=False)
    (folder / "pack" / "blocks").mkdir(parents=True)
    files = {"__init__.py": "from .nets import make", "nets.py": MODULE, "blocks/conv.py": ""}
    for name, content in files.items():
        (folder / "pack" / name).write_text(content)
    assert source_files("pack:make") == sorted(folder / "pack" / name for name in files)
    (folder / "alone.py").write_text("from pack.nets import make")
    assert source_files("alone:make") == [folder / "alone.py", folder / "pack" / "nets.py"]
    (installed,) = source_files("torchvision.models.alexnet:alexnet")
    assert installed.name == "alexnet.py"


def test_a_transformer_of_ones_own_is_tried_in_evaluation_mode() -> None:
    model = build_model("mine.nets:normed", 7, image_size=64)
    assert model.tokens is not None
    assert model.network.head[0].num_batches_tracked == 0


def test_its_source_is_the_file_that_says_what_it_is(folder: Path) -> None:
    assert (
        source_files("mine.nets:make")
        == source_files("multiscale:mine.nets:make")
        == [folder / "mine" / "nets.py"]
    )
    assert source_files("cnn") == source_files("multiscale:cnn") == source_files("resnet50") == []


def test_a_module_under_two_names_is_saved_under_both(tmp_path: Path) -> None:
    model = build_model("mine.nets:twice", 5, image_size=48).eval()
    save_model(model, tmp_path / "best.safetensors")
    faces = torch.randint(0, 256, (2, 48, 48))
    assert torch.equal(load_model(tmp_path / "best.safetensors")(faces), model(faces))


def test_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("mine.nets:make", 5, image_size=48, mean=(0.5, 0.4, 0.3)).eval()
    save_model(model, tmp_path / "best.safetensors")
    loaded = load_model(tmp_path / "best.safetensors")
    faces = torch.randint(0, 256, (2, 48, 48))
    assert loaded.recipe == model.recipe
    assert torch.equal(loaded(faces), model(faces))
    other = build_model("mine.nets:make", 3, image_size=48)
    load_weights(other, find_weights("mine.nets:make", str(tmp_path / "best.safetensors")))
    assert torch.equal(other.network.stem[0].weight, model.network.stem[0].weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("theirs.nets:make", "no module 'theirs'; run from the folder that holds it"),
        ("mine.networks:make", r"no module 'mine\.networks'"),
        ("broken:make", "no module 'not_a_module_at_all'"),
        ("fails:make", r"fails cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("mine.nets:build", r"no function 'build' in .*nets\.py"),
        ("mine.nets:constant", "no function 'constant'"),
        ("mine.nets:number", r"returned a int, not a torch\.nn\.Module"),
        ("mine.nets:fails", r"the function failed \(RuntimeError: no\)"),
        ("mine.nets:seven", r"gives shape \(1, 7\) for one face, not logits of shape \(1, 5\)"),
        ("mine.nets:pair", "gives tuple for one face, not logits"),
        ("mine.nets:scripted", r"a TorchScript module, whose layers cannot be read; return the nn\.Module"),
        ("mine.nets:squeezes", r"squeeze\(\) takes a batch of one away"),
        ("mine.nets:probabilities", "its outputs are those of a softmax, not logits"),
        ("mine.nets:grey", "takes no input of 3 channels and 48 pixels"),
        ("mine.nets:", "no model 'mine.nets:'"),
    ],
)
def test_what_is_no_network_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_model(name, 5, image_size=48)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, "--channels 2: faces have 1"),
        ({"mean": (0.5,)}, "--mean: 1 numbers for 3 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "--std 0.5,0.0,0.5: must be above 0"),
        ({"cam_layer": "layer9"}, "--cam-layer layer9: no such layer; the default is body"),
        ({"dropout": 0.5}, "--dropout: mine.nets:make has no such setting"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_model("mine.nets:make", 5, image_size=48, **options)
    assert "\n" not in str(error.value)
