"""Networks that were trained elsewhere become runs with their head, class order and preprocessing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain
from fertool.models import FaceClassifier, build_model, load_model
from fertool.models.weights.class_order import find_class_order, names_in, outputs_for
from fertool.runtime.hardware import Compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.representation import _initial
from fertool.train import train
from fertool.train.adoption import statistics
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

ORDER = ("surprise", "happiness", "anger", "sad", "neutral", "contempt", "fear", "disgust")
CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def finished(synthetic: Workspace) -> FaceClassifier:
    """A network of eight outputs in an order of its own, contempt among them."""
    torch.manual_seed(3)
    return build_model("cnn", len(ORDER)).eval()


def adopt(workspace: Workspace, file: Path, name: str = "theirs", **settings: object) -> dict:
    config = TrainConfig(model="cnn", weights=str(file), epochs=0, precision="fp32", **settings)
    return train(workspace, config, name=name, device="cpu").data


def logits_of(model: FaceClassifier, workspace: Workspace) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(np.array(workspace.load_faces("test")))).numpy()


FORMS: dict[str, Callable[[dict], object]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 9},
    "model_state_dict": lambda state: {"model_state_dict": {f"module.{name}": value for name, value in state.items()}},
    "net": lambda state: {"net": {f"_orig_mod.{name}": value for name, value in state.items()}},
    "lightning": lambda state: {"state_dict": {f"model.backbone.{name}": value for name, value in state.items()}},
}  # fmt: skip


PREFIXES = {"model_state_dict": "module.", "net": "_orig_mod.", "lightning": "model.backbone."}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_checkpoint_gives_the_same_logits(
    synthetic: Workspace, finished: FaceClassifier, tmp_path: Path, form: str
) -> None:
    torch.save(FORMS[form](finished.network.state_dict()), tmp_path / "w.pth")
    record = adopt(synthetic, tmp_path / "w.pth", class_order=ORDER)
    adopted = load_model(synthetic.run("theirs").best)
    classes = synthetic.dataset()["classes"]
    columns = [record["adopted"]["class_order"].index(name) for name in classes]
    assert np.array_equal(logits_of(adopted, synthetic), logits_of(finished, synthetic)[:, columns])
    assert record["state"] == "done" and record["adopted"]["left_out"] == ["contempt"]
    assert record["adopted"]["sha256"] == record["pretraining"]["sha256"]
    assert record["adopted"]["prefix"] == PREFIXES.get(form, "")


def test_an_adopted_run_is_explained_and_scored(
    synthetic: Workspace, finished: FaceClassifier, tmp_path: Path
) -> None:
    torch.save({"model": finished.network.state_dict(), "classes": list(ORDER)}, tmp_path / "w.pth")
    record = adopt(synthetic, tmp_path / "w.pth")
    assert record["adopted"]["class_order"][:2] == ["surprise", "happy"], "the names of the file"
    explain(synthetic, ExplainSettings(device="cpu"))
    (figures,) = score(synthetic, ScoreSettings(suites=["classification"]), device="cpu").data[
        "classification"
    ]
    columns = [record["adopted"]["class_order"].index(name) for name in synthetic.dataset()["classes"]]
    predicted = logits_of(finished, synthetic)[:, columns].argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(np.mean(predicted == synthetic.load_labels("test")))
    again = train(
        synthetic,
        TrainConfig(weights=str(tmp_path / "w.pth"), epochs=0, precision="fp32"),
        name="theirs",
        device="cpu",
    )
    assert "was adopted already" in again.notes[0]


def test_permuted_outputs_give_the_same_accuracy(
    synthetic: Workspace, finished: FaceClassifier, tmp_path: Path
) -> None:
    state = finished.network.state_dict()
    turned = dict(state)
    for kind in ("weight", "bias"):
        turned[f"classifier.{kind}"] = state[f"classifier.{kind}"].flip(0)
    torch.save(state, tmp_path / "a.pth")
    torch.save(turned, tmp_path / "b.pth")
    first = adopt(synthetic, tmp_path / "a.pth", "a", class_order=ORDER)
    second = adopt(synthetic, tmp_path / "b.pth", "b", class_order=ORDER[::-1])
    assert first["best"]["val_accuracy"] == second["best"]["val_accuracy"]


def test_a_class_that_the_network_does_not_have_is_never_predicted(
    synthetic: Workspace, tmp_path: Path
) -> None:
    torch.save(build_model("cnn", 3).network.state_dict(), tmp_path / "w.pth")
    record = adopt(synthetic, tmp_path / "w.pth", class_order=("happy", "sad", "angry"))
    logits = logits_of(load_model(synthetic.run("theirs").best), synthetic)
    names = np.array(synthetic.dataset()["classes"])
    assert set(names[logits.argmax(axis=1)]) <= {"happy", "sad", "angry"} and np.isfinite(logits).all()
    assert sorted(record["adopted"]["not_its_classes"]) == ["disgust", "fear", "neutral", "surprise"]


def test_classes_that_are_not_shared_are_named_at_once(synthetic: Workspace, tmp_path: Path) -> None:
    torch.save(build_model("cnn", 3).network.state_dict(), tmp_path / "w.pth")
    config = TrainConfig(weights=str(tmp_path / "w.pth"), epochs=0, class_order=("happy", "sad", "angri"))
    notes = train(synthetic, config, name="theirs", device="cpu").notes
    assert notes[1] == (
        "theirs: never predicts angry, disgust, fear, surprise, neutral, for none of its outputs is called so"
    )
    assert notes[2].endswith("angri") and len(notes) == 3


def test_the_number_of_classes_is_that_of_the_heads_outputs(synthetic: Workspace, tmp_path: Path) -> None:
    torch.save(build_model("cnn", 3).network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        UserError, match="its head has 3 outputs, and 2 classes are named; name the class of each"
    ):
        adopt(synthetic, tmp_path / "w.pth", class_order=("happy", "sad"))
    with pytest.raises(UserError, match="--bgr: cnn takes grey pictures"):
        adopt(synthetic, tmp_path / "w.pth", class_order=("happy", "sad", "fear"), bgr=True)
    state = {f"features.{name}": value for name, value in build_model("cnn", 3).network.state_dict().items()}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(
        UserError, match=r"there is no conv1.weight in it; features\.conv1\.weight in it is not in"
    ):
        adopt(synthetic, tmp_path / "other.pth", class_order=("happy", "sad", "fear"))
    assert not synthetic.runs()


def test_a_pixel_range_has_the_channels_of_the_network(
    synthetic: Workspace, finished: FaceClassifier, tmp_path: Path
) -> None:
    torch.save(finished.network.state_dict(), tmp_path / "w.pth")
    record = adopt(synthetic, tmp_path / "w.pth", class_order=ORDER, pixel_range="-1-1")
    assert record["adopted"]["preprocessing"]["mean"] == [0.5]


@pytest.mark.parametrize(
    ("content", "order"),
    [
        ({"id2label": {"0": "happy", "1": "sad"}}, ["happy", "sad"]),
        ({"id2label": {1: "happy", 0: "sad"}}, ["sad", "happy"]),
        ({"class_to_idx": {"happy": 1, "sad": 0}}, ["sad", "happy"]),
        ({"classes": ["happy", "sad"]}, ["happy", "sad"]),
        ({"classes": json.dumps(["happy", "sad"])}, ["happy", "sad"]),
        ({"classes": 7, "epoch": 3}, []),
        ({"id2label": {0: "happy", 5: "sad"}}, []),
    ],
)
def test_names_of_classes_in_a_file(content: dict, order: list[str]) -> None:
    assert names_in(content) == order


def test_the_order_of_classes_is_never_guessed() -> None:
    with pytest.raises(
        UserError, match=r"w\.pth: the order of its classes is not in the file; give it as --class-order"
    ):
        find_class_order(None, {"epoch": 3}, "w.pth")
    with pytest.raises(UserError, match="'happy' must stand there once"):
        find_class_order(["happy", "joy"], None, "w.pth")
    with pytest.raises(UserError, match="fewer than two of the data set's classes"):
        outputs_for(["happy", "sad"], ["cat", "dog"])


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"mean": (0.5,), "std": (0.2,)}, (0.5,), (0.2,)),
        ({"pixel_range": "-1-1"}, (0.5,), (0.5,)),
        ({"pixel_range": "0-255", "mean": (127.5,), "std": (255.0,)}, (0.5,), (1.0,)),
        ({"pixel_range": "0-1"}, (0.0,), (1.0,)),
    ],
)
def test_statistics_are_those_of_the_range_that_pixels_have(settings: dict, mean: tuple, std: tuple) -> None:
    assert statistics(TrainConfig(epochs=0, **settings), 1) == (mean, std)


def test_channels_may_be_blue_green_red() -> None:
    plain, turned = (
        build_model("test_resnet", 7, image_size=64, bgr=bgr, mean=(0, 0, 0), std=(1, 1, 1))
        for bgr in (None, True)
    )
    faces = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)
    assert torch.equal(plain.preprocess(faces).flip(1), turned.preprocess(faces))
    assert turned.recipe["bgr"] and "bgr" not in plain.recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs 0 takes a finished network as it is: give its file"),
        ({"epochs": 1, "class_order": ("happy", "sad")}, "--class-order: belongs to a finished network"),
        ({"epochs": 1, "crop_scale": 0.8}, "--crop-scale: belongs to a finished network"),
        ({"epochs": 0, "crop_scale": 9.0}, "--crop-scale 9.0: must be from 0.25 to 4"),
        ({"epochs": 0, "keep_head": True}, "--keep-head: with --epochs 0 a network keeps its head anyway"),
        ({"epochs": 1, "keep_head": True}, "--keep-head takes a finished network as it is: give its file"),
        ({"epochs": 0, "pixel_range": "0-2"}, "--pixel-range 0-2: must be 0-1, 0-255, -1-1"),
    ],
)
def test_what_cannot_be_adopted_is_one_line(synthetic: Workspace, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        train(synthetic, TrainConfig(**settings), device="cpu")
    assert "\n" not in str(error.value) and not synthetic.runs()


def test_a_network_is_fine_tuned_with_its_head(
    synthetic: Workspace, finished: FaceClassifier, tmp_path: Path
) -> None:
    torch.save({"net": finished.network.state_dict(), "classes": list(ORDER)}, tmp_path / "w.pth")
    config = TrainConfig(
        weights=str(tmp_path / "w.pth"), epochs=1, keep_head=True, lr=1e-6, precision="fp32", crop_scale=0.9
    )
    summary = train(synthetic, config, name="theirs", device="cpu")
    assert "nothing is known of the data" in summary.notes[0] and summary.data["adopted"]["part"] == "net"
    adopt(synthetic, tmp_path / "w.pth", "before", class_order=ORDER, crop_scale=0.9)
    tuned, before = (load_model(synthetic.run(name).best) for name in ("theirs", "before"))
    assert tuned.outputs == before.outputs and tuned.input_spec == before.input_spec
    ours, theirs = logits_of(tuned, synthetic), logits_of(before, synthetic)
    # 112 faces at a rate of 1e-6: nearly as it was, with the head that it had
    assert not np.array_equal(ours, theirs) and np.abs(ours - theirs).max() < 0.5
    before_training = _initial(EvaluatedRun(synthetic, synthetic.run("theirs"), "test", CPU))
    assert np.allclose(logits_of(before_training, synthetic), theirs, atol=1e-5)


def test_a_head_that_lacks_a_class_is_not_fine_tuned(synthetic: Workspace, tmp_path: Path) -> None:
    torch.save(build_model("cnn", 3).network.state_dict(), tmp_path / "w.pth")
    order = ("happy", "sad", "angry")
    config = TrainConfig(weights=str(tmp_path / "w.pth"), epochs=1, keep_head=True, class_order=order)
    with pytest.raises(UserError, match="no output for disgust, fear, surprise, neutral"):
        train(synthetic, config, device="cpu")
    assert not synthetic.runs()


def test_a_part_of_the_picture_is_not_guided(
    synthetic: Workspace, finished: FaceClassifier, tmp_path: Path
) -> None:
    torch.save({"net": finished.network.state_dict(), "classes": list(ORDER)}, tmp_path / "w.pth")
    config = TrainConfig(
        weights=str(tmp_path / "w.pth"), epochs=1, keep_head=True, crop_scale=0.5, guide="background"
    )
    with pytest.raises(UserError, match=r"--guide: cnn sees another part of the picture than the masks"):
        train(synthetic, config, device="cpu")
