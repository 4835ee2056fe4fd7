import functools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model, load_model, save_model
from fertool.models.backbones.multiscale import layer_in_words, read_views
from fertool.models.registry import parameter_count

# with its margin the square (16, 16) to (64, 64), as many pixels as `cnn` sees
BOX = torch.tensor([[20.0, 20.0, 60.0, 60.0]])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_each_branch_sees_its_own_view() -> None:
    model = build_model("multiscale:cnn", 7)
    faces = noise(3, 96, 96)
    with model.looking_at(BOX.expand(3, -1)):
        inputs = model.preprocess(faces)
    plain = build_model("cnn", 7)
    assert inputs.shape == (3, 2, 1, 48, 48)
    assert torch.equal(inputs[:, 0], plain.preprocess(faces))
    assert torch.allclose(inputs[:, 1], plain.preprocess(faces[:, 16:64, 16:64]), atol=1e-4)


def test_its_layer_is_named_within_a_branch() -> None:
    assert layer_in_words(build_model("multiscale:cnn", 7).cam_layer) == "relu3 of each branch"
    assert layer_in_words(build_model("cnn", 7).cam_layer) == "relu3"


def test_colour_is_cropped_as_grey_is() -> None:
    model = build_model("multiscale:cnn", 7, views="face")
    grey = noise(2, 96, 96)
    with model.looking_at(BOX.expand(2, -1)):
        colour = model.preprocess(grey[..., None].expand(-1, -1, -1, 3))
        assert torch.allclose(model.preprocess(grey), colour, atol=1e-4)


@functools.cache
def sees_the_face() -> FaceClassifier:
    return build_model("multiscale:cnn", 7, views="face")


@given(
    st.tuples(*[st.floats(-20, 60)] * 2),
    st.tuples(*[st.floats(0.5, 70)] * 2),
    st.sampled_from([(48, 48), (40, 64)]),
)
def test_crops_are_squares_within_the_picture(corner, size, shape) -> None:
    model = sees_the_face()
    box = torch.tensor([[corner[0], corner[1], corner[0] + size[0], corner[1] + size[1]]])
    with model.looking_at(box):
        left, top, right, bottom = model.crop_boxes(torch.zeros(1, *shape))[0].tolist()
    assert right - left == pytest.approx(bottom - top, abs=1e-4)
    assert left >= 0 and top >= 0 and right <= shape[1] + 1e-4 and bottom <= shape[0] + 1e-4
    assert right - left >= min(1.2 * max(size), min(shape)) - 1e-3 or max(size) < 1


def test_the_view_of_the_face_moves_with_its_box() -> None:
    model = build_model("multiscale:cnn", 7, views="face").eval()
    face = noise(1, 96, 96)
    moved = face.roll((5, -7), dims=(1, 2))
    with model.looking_at(BOX):
        here = model(face)
    with model.looking_at(BOX + torch.tensor([-7.0, 5.0, -7.0, 5.0])):
        assert torch.allclose(model(moved), here, atol=1e-4)


def test_the_same_faces_several_times_over_keep_their_boxes() -> None:
    model = build_model("multiscale:cnn", 7).eval()
    faces = noise(3, 96, 96)
    boxes = BOX + torch.arange(3)[:, None] * torch.tensor([[-4.0, 3.0, 1.0, 5.0]])
    with model.looking_at(boxes), torch.no_grad():
        once, twice = model(faces), model(torch.cat([faces, faces]))
        assert torch.allclose(twice, torch.cat([once, once]), atol=1e-5)
    assert model.boxes is None


def test_without_boxes_there_is_no_view_of_the_face() -> None:
    model = build_model("multiscale:cnn", 7)
    assert model.needs_boxes
    with pytest.raises(ValueError, match="needs boxes"):
        model(noise(1, 48, 48))
    assert not build_model("multiscale:cnn", 7, views="whole,whole").needs_boxes


def test_controls_have_the_parameters_of_what_they_control() -> None:
    counts = {views: parameter_count(build_model("multiscale:cnn", 7, views=views)) for views in
              ("whole,face", "face,face", "whole,whole", "whole", "face")}  # fmt: skip
    assert counts["whole,face"] == counts["face,face"] == counts["whole,whole"]
    assert counts["whole"] == counts["face"] == parameter_count(build_model("cnn", 7))


def test_one_view_of_the_whole_picture_is_the_plain_model() -> None:
    torch.manual_seed(0)
    plain, single = build_model("cnn", 7).eval(), build_model("multiscale:cnn", 7, views="whole").eval()
    state = plain.network.state_dict()
    renamed = {
        name if name.startswith("classifier") else f"branches.0.{name}": value
        for name, value in state.items()
    }
    single.network.load_state_dict(renamed)
    faces = noise(2, 48, 48)
    assert torch.allclose(plain(faces), single(faces), atol=1e-6)


def test_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("multiscale:test_resnet", 5, image_size=64, views="face,whole").eval()
    save_model(model, tmp_path / "best.safetensors")
    loaded = load_model(tmp_path / "best.safetensors")
    assert (loaded.recipe, loaded.views) == (model.recipe, model.views)
    with model.looking_at(BOX / 2), loaded.looking_at(BOX / 2), torch.inference_mode():
        assert torch.equal(model(noise(1, 48, 48)), loaded(noise(1, 48, 48)))


@pytest.mark.parametrize("text", ["eyes", "whole,", "face,face,face", "whole face"])
def test_views_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"--views .*: give one or two of whole and face"):
        read_views(text)


def test_views_are_of_multi_scale_models_only() -> None:
    with pytest.raises(UserError, match="--views: cnn has no such setting"):
        build_model("cnn", 7, views="face,face")
