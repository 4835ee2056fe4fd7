import dataclasses
import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.explain.methods.cams import gradcam
from fertool.models.backbones import dlibface
from fertool.models.backbones.dlibface import (
    LEAST_SIZE,
    add_zero_filled,
    build_dlibface,
    calibrate_norms,
    dlib_network_file,
    load_dlib_weights,
)
from fertool.models.classifier import FaceClassifier
from fertool.models.weights.dlib_reader import read_dlib_network
from fertool.models.weights.sources import find_weights

WITH_FILE = pytest.mark.skipif(
    dlib_network_file() is None, reason="needs the package face_recognition_models (extra dlib)"
)
WITH_DLIB = pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="needs dlib (extra dlib)")


def patterns(count: int, seed: int = 0) -> Tensor:
    """Smooth grey pictures, uint8 (count, 48, 48), no two alike."""
    coarse = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(coarse, size=48, mode="bicubic").clamp(0, 255).to(torch.uint8)[:, 0]


@pytest.fixture(scope="module")
def pretrained() -> FaceClassifier:
    if dlib_network_file() is None:
        pytest.skip("needs the package face_recognition_models (extra dlib)")
    torch.manual_seed(0)
    model = build_dlibface(7)
    load_dlib_weights(model.network, dlib_network_file())
    return model.eval()


@torch.no_grad()
def embedding(model: FaceClassifier, chips: np.ndarray) -> np.ndarray:
    """The 128 numbers of faces (B, 150, 150, 3), as dlib's last layer, which is no part of the model, makes them."""
    layer = read_dlib_network(dlib_network_file())[-1]
    assert layer.kind == "fc_2" and layer.tensors["weight"].shape[0] == 256
    inputs = model.preprocess(torch.from_numpy(chips))
    return (model.network.features(inputs) @ layer.tensors["weight"]).numpy()


def with_any_norms(seed: int = 0) -> FaceClassifier:
    """A model whose norms do something, as if trained."""
    torch.manual_seed(seed)
    model = build_dlibface(7)
    for layer in model.network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -0.5, 1)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return model.eval()


def test_the_levels_have_the_maps_of_dlibs_network() -> None:
    model = build_dlibface(7)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in [*model.network.named_children(), *model.network.stem.named_children()]:
        layer.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    assert model(patterns(2)).shape == (2, 7)
    assert shapes == {
        "conv": (32, 72, 72), "norm": (32, 72, 72), "relu": (32, 72, 72), "pool": (32, 35, 35), "stem": (32, 35, 35),
        "level4": (32, 35, 35), "level3": (64, 17, 17), "level2": (128, 8, 8), "level1": (256, 4, 4),
        "level0": (256, 2, 2), "dropout": (256,), "classifier": (7,),
    }  # fmt: skip
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.network.modules()) == 29


def test_the_input_is_what_dlib_feeds() -> None:
    inputs = build_dlibface(7).preprocess(torch.full((1, 150, 150, 3), 200, dtype=torch.uint8))
    expected = (200 - torch.tensor([122.782, 117.001, 104.298])) / 256
    assert torch.allclose(inputs, expected.view(1, 3, 1, 1).expand_as(inputs), atol=1e-6)


def test_a_sum_of_unlike_maps_is_filled_with_zeros() -> None:
    small, wide = torch.ones(1, 3, 2, 1), torch.full((1, 2, 3, 3), 2.0)
    total = add_zero_filled(small, wide)
    expected = torch.zeros(1, 3, 3, 3)
    expected[:, :2] += 2
    expected[:, :, :2, :1] += 1
    assert torch.equal(total, expected)
    assert torch.equal(add_zero_filled(wide, small), expected)


@pytest.mark.parametrize(
    ("size", "layer"), [(LEAST_SIZE, "level3"), (112, "level3"), (150, "level2"), (224, "level2")]
)
def test_other_sizes_where_the_architecture_takes_them(size: int, layer: str) -> None:
    model = build_dlibface(5, image_size=size)
    assert model.cam_layer == layer
    assert model(patterns(2)).shape == (2, 5)


def test_too_small_a_size_is_one_line() -> None:
    with pytest.raises(UserError, match=f"--image-size {LEAST_SIZE - 1}.*{LEAST_SIZE}"):
        build_dlibface(7, image_size=LEAST_SIZE - 1)
    with pytest.raises(RuntimeError):  # the last level has no cells there: the limit is the true one
        build_dlibface(7).network(torch.zeros(2, 3, LEAST_SIZE - 1, LEAST_SIZE - 1))


def test_dropout_stands_before_the_head() -> None:
    model = build_dlibface(7, dropout=1.0).train()
    assert torch.allclose(model(patterns(2)), model.layer(model.head).bias.expand(2, 7))
    assert build_dlibface(7).network.dropout.p == 0


def test_a_cam_has_eight_by_eight_cells(pretrained: FaceClassifier) -> None:
    heatmaps = gradcam(pretrained, patterns(3), lambda logits: logits.argmax(dim=1, keepdim=True)).heatmaps
    assert heatmaps.shape == (3, 1, 8, 8)
    assert heatmaps.abs().amax(dim=(1, 2, 3)).min() > 0


def test_a_training_step_changes_every_weight() -> None:
    torch.manual_seed(0)
    model = build_dlibface(7).train()
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    F.cross_entropy(model(patterns(4)), torch.arange(4)).backward()
    optimizer.step()
    for name, value in model.network.named_parameters():
        assert not torch.equal(value, before[name]), name


@WITH_DLIB
def test_embedding_equals_dlibs_on_random_chips(pretrained: FaceClassifier) -> None:
    import dlib

    chips = np.random.default_rng(0).integers(0, 256, (4, 150, 150, 3), dtype=np.uint8)
    chips[1] = patterns(1).numpy().repeat(4, axis=1).repeat(4, axis=2)[0, :150, :150, None]
    chips[2], chips[3] = 0, 255
    describe = dlib.face_recognition_model_v1(str(dlib_network_file()))
    expected = np.array([describe.compute_face_descriptor(chip) for chip in chips])
    assert np.abs(embedding(pretrained, chips) - expected).max() < 1e-4


@WITH_DLIB
def test_embedding_equals_dlibs_on_fer2013(pretrained: FaceClassifier, shared: Callable[[str], Path]) -> None:
    import dlib

    faces = []
    with zipfile.ZipFile(shared("fer2013/fer2013.zip")) as archive:
        for name in sorted(name for name in archive.namelist() if "PrivateTest" in name)[::200]:
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((192, 192))
            faces.append(np.asarray(picture))
    find_boxes = dlib.get_frontal_face_detector()
    find_points = dlib.shape_predictor(
        str(dlib_network_file().with_name("shape_predictor_5_face_landmarks.dat"))
    )
    describe = dlib.face_recognition_model_v1(str(dlib_network_file()))
    chips, expected = [], []
    for face in faces:
        for box in find_boxes(face)[:1]:
            points = find_points(face, box)
            chips.append(dlib.get_face_chip(face, points, size=150))
            # of the whole picture: dlib cuts the same chip out itself
            expected.append(describe.compute_face_descriptor(face, points))
    assert len(chips) >= 8
    ours = embedding(pretrained, np.array(chips))
    assert np.abs(ours - np.array(expected)).max() < 1e-4
    apart = np.linalg.norm(ours[:, None] - ours[None], axis=2)[np.triu_indices(len(ours), 1)]
    assert apart.min() > 1e-2, "different faces have different embeddings"


@WITH_FILE
def test_the_file_says_what_the_network_is_fed(pretrained: FaceClassifier) -> None:
    images = read_dlib_network(dlib_network_file())[0]
    assert images.settings == {"rows": 150, "columns": 150}
    assert torch.allclose(images.tensors["mean"], torch.tensor(pretrained.input_spec.mean) * 255)


@WITH_FILE
def test_the_head_is_left_as_it_was() -> None:
    model = build_dlibface(7)
    before = {name: value.clone() for name, value in model.layer(model.head).state_dict().items()}
    load_dlib_weights(model.network, dlib_network_file())
    for name, value in model.layer(model.head).state_dict().items():
        assert torch.equal(value, before[name])


def test_without_the_package_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert dlib_network_file() is None
    with pytest.raises(UserError, match="run pip install dlib-bin face_recognition_models, put "):
        find_weights("dlibface", weights_dir=tmp_path)


@WITH_FILE
@pytest.mark.parametrize("damage", ["cut", "fewer layers", "another stride", "another shape"])
def test_another_network_is_refused_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    path = tmp_path / "network.dat"
    path.write_bytes(dlib_network_file().read_bytes()[: -1 if damage == "cut" else None])

    def other(path: Path) -> list:
        layers = read_dlib_network(path)
        last = max(place for place, layer in enumerate(layers) if layer.kind == "con_4")
        if damage == "fewer layers":
            return layers[:last]
        if damage == "another stride":
            change = {"settings": layers[last].settings | {"stride_x": 2}}
        elif damage == "another shape":
            change = {"tensors": layers[last].tensors | {"weight": torch.zeros(256, 256, 1, 1)}}
        else:
            change = {}
        return [*layers[:last], dataclasses.replace(layers[last], **change), *layers[last + 1 :]]

    monkeypatch.setattr(dlibface, "read_dlib_network", other)
    model = build_dlibface(7)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    with pytest.raises(UserError, match=r"network\.dat.*not dlib's face-recognition network") as refused:
        load_dlib_weights(model.network, path)
    assert "\n" not in str(refused.value)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def features(model: FaceClassifier, pixels: Tensor, *, training: bool) -> Tensor:
    """With norms in the given mode; running statistics stay as they are."""
    kept = {name: value.clone() for name, value in model.network.state_dict().items()}
    try:
        with torch.no_grad():
            return model.train(training).network.features(model.preprocess(pixels))
    finally:
        model.network.load_state_dict(kept)
        model.eval()


def test_calibrated_norms_compute_the_same_in_both_modes() -> None:
    model, faces = with_any_norms(), patterns(40)
    before = features(model, faces, training=False)
    calibrate_norms(model, faces)
    torch.testing.assert_close(features(model, faces, training=False), before, rtol=1e-3, atol=1e-3)
    # the faces as one batch: its statistics are then just those measured, in two batches
    torch.testing.assert_close(features(model, faces, training=True), before, rtol=1e-3, atol=1e-3)


def test_calibration_leaves_modes_hooks_and_a_second_calibration_nothing_to_do() -> None:
    model, faces = with_any_norms().train(), patterns(4)
    model.network.stem.norm.eval()
    calibrate_norms(model, faces)
    assert model.training and model.network.stem.relu.training and not model.network.stem.norm.training
    assert not any(layer._forward_hooks for layer in model.network.modules())
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    calibrate_norms(model, faces)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-3)


def test_dlibs_weights_train_only_once_calibrated(pretrained: FaceClassifier) -> None:
    model = build_dlibface(7)
    model.load_state_dict(pretrained.state_dict())
    faces, others = patterns(64), patterns(32, seed=1)
    in_eval = features(model, others, training=False)
    calibrate_norms(model, faces)
    torch.testing.assert_close(features(model, others, training=False), in_eval, rtol=1e-3, atol=1e-4)
    calibrated = features(model, others, training=True)
    uncalibrated = features(pretrained, others, training=True)

    def error(found: Tensor) -> float:
        return float((found - in_eval).norm() / in_eval.norm())

    assert error(calibrated) < 0.1
    assert error(uncalibrated) > 0.3
