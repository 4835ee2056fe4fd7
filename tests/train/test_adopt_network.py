"""Networks that a Python program holds become runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain
from fertool.models import InputSpec, load_model
from fertool.models.backbones import memory_network
from fertool.prepare.emotions import EMOTIONS
from fertool.train import adopt
from fertool.workspace import Workspace

SPEC = InputSpec(48, 1, (0.5,), (0.25,), crop_scale=0.9)


class Small(nn.Module):
    """A classifier that its class makes again without arguments."""

    def __init__(self, width: int = 6, num_classes: int = 7) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, 4, 2), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs).mean(dim=(2, 3)))


def doubled(pixels: Tensor) -> Tensor:
    """A preprocessing that no option describes."""
    return (pixels[:, None] / 255).sqrt().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def logits_of(model: nn.Module, workspace: Workspace) -> Tensor:
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(np.array(workspace.load_faces("test"))))


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_network_in_memory_becomes_a_run(synthetic: Workspace) -> None:
    network = Small(width=5).eval()
    order = ("surprise", "contempt", *EMOTIONS[:5])
    summary = adopt(synthetic, network, classes=order, preprocess=SPEC, name="mine", device="cpu")
    adopted = summary.data["adopted"]
    assert adopted["left_out"] == ["contempt"] and adopted["not_its_classes"] == ["neutral"]
    assert adopted["preprocessing"]["crop_scale"] == 0.9 and "only this Python process" in summary.notes[-1]
    model = load_model(synthetic.run("mine").best)
    with torch.inference_mode():
        faces = torch.from_numpy(np.array(synthetic.load_faces("test")))
        theirs = network(model.preprocess(faces))
    assert_same(logits_of(model, synthetic)[:, :5], theirs[:, 2:])  # in the order of the data set
    with torch.no_grad():
        network.head.bias.fill_(9)
    assert_same(
        logits_of(load_model(synthetic.run("mine").best), synthetic)[:, :5], theirs[:, 2:]
    )  # a copy is kept
    explain(synthetic, ExplainSettings(device="cpu"))
    maps = np.load(synthetic.run("mine").heatmaps("gradcam", "predicted", "test"))
    assert maps.shape[1:] == (48, 48) and np.all(maps[:, 0] == 0), "nothing outside the part that it sees"


def test_another_process_says_where_the_network_is(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(synthetic, Small(width=5), classes=EMOTIONS, preprocess=SPEC, name="mine", device="cpu")
    monkeypatch.setattr(memory_network, "_held", {})
    with pytest.raises(
        UserError, match=r"memory:\w{12}: this network is in the memory of the Python process"
    ):
        explain(synthetic, ExplainSettings(device="cpu"))


def test_a_class_without_arguments_is_made_again_anywhere(
    synthetic: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adopted_elsewhere.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self, num_classes=7):\n"
        "        super().__init__(nn.Conv2d(1, 4, 5, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(4, num_classes))\n\n\ndef double(num_classes=7):\n    return nn.Sequential(*Net(num_classes), "
        "nn.Softplus())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import adopted_elsewhere

    network = adopted_elsewhere.Net()
    summary = adopt(synthetic, network, classes=EMOTIONS, preprocess=SPEC, name="mine", device="cpu")
    assert summary.data["model"] == "adopted_elsewhere:Net" and len(summary.notes) == 1
    monkeypatch.setattr(memory_network, "_held", {})
    model = load_model(synthetic.run("mine").best)
    assert torch.equal(model.network[4].weight, network[4].weight)
    with pytest.raises(UserError, match="makes a network with these tensors but other logits"):
        adopt(
            synthetic, network, classes=EMOTIONS, preprocess=SPEC, factory="adopted_elsewhere:double",
            name="other", device="cpu",
        )  # fmt: skip


def test_a_preprocessing_may_be_any_function(synthetic: Workspace) -> None:
    network = Small(width=5).eval()
    record = adopt(synthetic, network, classes=EMOTIONS, preprocess=doubled, name="mine", device="cpu").data
    assert record["adopted"]["preprocessing"]["function"] == "doubled" and record["image_size"] == 96
    model = load_model(synthetic.run("mine").best)
    faces = torch.from_numpy(np.array(synthetic.load_faces("test")))
    with torch.inference_mode():
        assert_same(model(faces), network(doubled(faces.float())))


def test_what_cannot_be_adopted_is_one_line(synthetic: Workspace) -> None:
    def fails(message: str, network: object = None, **options: object) -> None:
        settings = {"classes": EMOTIONS, "preprocess": SPEC, "name": "mine", "device": "cpu", **options}
        with pytest.raises(UserError, match=message) as error:
            adopt(synthetic, Small() if network is None else network, **settings)
        assert "\n" not in str(error.value) and not synthetic.runs()

    fails(r"takes a torch\.nn\.Module, not a function", network=doubled)
    fails("the order of its classes is not in the file", classes=None)
    fails("not logits of shape \\(1, 2\\)", classes=("happy", "sad"))
    fails("preprocess is a int", preprocess=3)
    fails("preprocess failed on one face", preprocess=lambda pixels: pixels @ pixels[:, :3])
    fails(r"preprocess gave \(1, 48, 48\) for one face", preprocess=lambda pixels: pixels)
