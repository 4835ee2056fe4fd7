import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.models import build_model, load_model, predict_logits, save_model
from fertool.runtime.hardware import Compute, choose_compute

CPU = Compute(torch.device("cpu"), "fp32")


def test_cnn_has_the_layers_it_says() -> None:
    torch.manual_seed(0)
    model = build_model("cnn", 7)
    names = [name for name, _ in model.network.named_children()]
    assert names[:9] == [f"{kind}{stage}" for stage in (1, 2, 3) for kind in ("conv", "relu", "pool")]
    before_cam = model.network[: names.index(model.cam_layer) + 1]
    assert before_cam(model.preprocess(torch.zeros(2, 48, 48))).shape == (2, 128, 12, 12)
    assert model(torch.zeros(2, 48, 48)).shape == (2, 7)


def test_preprocess_normalises_as_the_weights_expect() -> None:
    model = build_model("cnn", 7)
    black, white = model.preprocess(torch.tensor([0.0, 255.0])[:, None, None].expand(2, 48, 48))
    assert torch.allclose(black, torch.full_like(black, -0.508 / 0.255))
    assert torch.allclose(white, torch.full_like(white, (1 - 0.508) / 0.255))


def test_grey_colour_and_larger_faces_meet_the_same_network() -> None:
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8, generator=generator)
    model = build_model("cnn", 7).eval()
    as_colour = grey[..., None].expand(-1, -1, -1, 3)
    doubled = grey.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    assert torch.allclose(model(grey), model(as_colour), atol=1e-5)
    assert torch.allclose(model(grey), model(grey.float()), atol=1e-6)
    assert torch.allclose(model.preprocess(doubled).mean(), model.preprocess(grey).mean(), atol=1e-2)
    assert model.preprocess(doubled).shape == (4, 1, 48, 48)


def test_colour_becomes_luma() -> None:
    model = build_model("cnn", 7)
    red = torch.zeros(1, 48, 48, 3)
    red[..., 0] = 255
    assert torch.allclose(
        model.preprocess(red), model.preprocess(torch.full((1, 48, 48), 0.299 * 255)), atol=1e-5
    )


def test_saved_and_loaded_bit_for_bit(tmp_path) -> None:
    torch.manual_seed(3)
    model = build_model("cnn", 5, dropout=0.2)
    save_model(model, tmp_path / "best.safetensors")
    loaded = load_model(tmp_path / "best.safetensors")
    faces = np.random.default_rng(0).integers(0, 256, (9, 48, 48), dtype=np.uint8)
    given = {name: value for name, value in loaded.recipe.items() if value is not None}
    assert given == {"name": "cnn", "classes": 5, "dropout": 0.2}
    assert np.array_equal(predict_logits(model, faces, CPU), predict_logits(loaded, faces, CPU))


def test_prediction_leaves_the_mode_and_the_order(tmp_path) -> None:
    torch.manual_seed(0)
    model = build_model("cnn", 7).train()
    faces = np.random.default_rng(0).integers(0, 256, (300, 48, 48), dtype=np.uint8)
    logits = predict_logits(model, faces, CPU)
    assert model.training
    assert np.allclose(logits[-1:], predict_logits(model, faces[-1:], CPU), atol=1e-5)


def test_a_damaged_checkpoint_is_one_line(tmp_path) -> None:
    path = tmp_path / "best.safetensors"
    save_model(build_model("cnn", 7), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"best\.safetensors: not a whole file of weights"):
        load_model(path)


def test_a_foreign_checkpoint_is_one_line(tmp_path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no fertool metadata"):
        load_model(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    "arguments",
    [("tpu", "auto"), ("auto", "fp8"), *([] if torch.cuda.is_available() else [("cuda", "auto")])],
)
def test_devices_and_precisions_that_are_not_there(arguments: tuple[str, str]) -> None:
    with pytest.raises(UserError):
        choose_compute(*arguments)


def test_unknown_model_names_those_that_are_there() -> None:
    with pytest.raises(UserError, match="no model 'cnm'; the nearest names are cnn"):
        build_model("cnm", 7)


@pytest.mark.parametrize(("scale", "side"), [(0.5, 96), (0.75, 64), (1.5, 32)])
def test_the_network_sees_a_square_of_the_picture(scale: float, side: int) -> None:
    model = build_model("cnn", 7, mean=(0.0,), std=(1.0,), crop_scale=scale)
    pixels = torch.arange(48.0).expand(1, 48, 48) * 5
    (row,) = model.preprocess(pixels)[0, 0, :1] * 255
    start, end = model.input_spec.window
    assert model.input_spec.resized == side and end - start == 48 / side == pytest.approx(scale)
    # the picture is a ramp of 5 a pixel, so what is seen tells where it lies; borders are repeated beyond it
    centres = ((torch.arange(48) + 0.5) / 48 * (end - start) + start) * 48 - 0.5
    inside = (centres > 0.5) & (centres < 46.5)
    assert torch.allclose(row[inside], centres[inside] * 5, atol=0.2)
    assert row.min() >= 0 and row.max() <= 47 * 5
    assert model.recipe["crop_scale"] == scale and "crop_scale" not in build_model("cnn", 7).recipe


def test_bicubic_interpolation_stays_within_the_range_of_pixels() -> None:
    model = build_model("cnn", 7, mean=(0.0,), std=(1.0,), interpolation="bicubic")
    edges = torch.zeros(1, 20, 20)
    edges[:, :, 10:] = 255
    assert model.preprocess(edges).min() == 0 and model.preprocess(edges).max() == 1
