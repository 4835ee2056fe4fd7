from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models import build_model, load_model, save_model

# every model of the table, at the least size that it can be explained at where it takes any
MODELS = {
    "cnn": None, "cnn-gap": 56, "resnet48": 40, "resnet50": 64, "efficientnet_b0": 64, "mobilenetv2_100": 64, "vit": 48,
    "vggface": None, "vggface2": 64, "dlibface": None, "facevit": 56,
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_a_step_and_comes_back_bit_for_bit(
    narrow: None, tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    model = build_model(name, 5, image_size=MODELS[name]).train()
    faces = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    before = [parameter.clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    F.cross_entropy(model(faces), torch.tensor([0, 4])).backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    head = model.layer(model.head)
    assert model.head and head.weight.shape[0] == 5
    path = tmp_path / "best.safetensors"
    save_model(model.eval(), path)
    loaded = load_model(path)
    assert loaded.recipe == model.recipe
    assert loaded.input_spec == model.input_spec
    assert (loaded.cam_layer, loaded.head) == (model.cam_layer, model.head)
    with torch.inference_mode():
        assert torch.equal(loaded(faces), model(faces))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("cnn", 64, "takes 48 pixels only"),
        ("cnn-gap", 27, "no fewer than 28 pixels"),
        ("resnet48", 13, "no fewer than 14 pixels"),
        ("vggface", 112, "fc6 of 'vggface' takes 224 pixels only"),
        ("vggface2", 12, "no layer of ResNet has 7x7 cells at 12 pixels"),
    ],
)
def test_sizes_that_a_model_cannot_take(name: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(name, 7, image_size=size)


def test_vggface_reads_its_last_convolution_before_it_is_pooled(narrow: None) -> None:
    model = build_model("vggface", 7).eval()
    shapes = []
    model.layer(model.cam_layer).register_forward_hook(lambda *call: shapes.append(call[2].shape))
    with torch.inference_mode():
        model(torch.zeros(1, 48, 48))
    assert shapes == [(1, 8, 14, 14)]


@pytest.mark.parametrize(
    ("size", "cam_layer", "cells"), [(48, "stage2", 12), (14, "stage1", 7), (56, "stage3", 7)]
)
def test_resnet48_is_read_at_its_deepest_stage_of_7x7_cells(size: int, cam_layer: str, cells: int) -> None:
    model = build_model("resnet48", 7, image_size=size).eval()
    shapes = []
    model.layer(model.cam_layer).register_forward_hook(lambda *call: shapes.append(call[2].shape))
    with torch.inference_mode():
        model(torch.zeros(1, 48, 48))
    assert model.cam_layer == cam_layer and shapes[0][2:] == (cells, cells)


def test_resnet48_begins_as_what_goes_past_its_blocks_with_logits_of_about_0() -> None:
    torch.manual_seed(0)
    model = build_model("resnet48", 7).eval()
    faces = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        logits = model(faces)
        assert logits.abs().max() < 0.5
        model.network.stage2[1].conv2.weight.normal_()
        assert torch.equal(model(faces), logits)


def test_logits_of_cnn_gap_are_the_classifier_on_the_mean_cell() -> None:
    torch.manual_seed(0)
    model = build_model("cnn-gap", 7).eval()
    maps = []
    model.layer(model.cam_layer).register_forward_hook(lambda *call: maps.append(call[2]))
    faces = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        logits = model(faces)
        assert maps[0].shape == (3, 128, 12, 12)
        assert torch.allclose(model.layer(model.head)(maps[0].mean(dim=(2, 3))), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("cnn", None, "hidden"),
        ("cnn", None, "flatten"),
        ("cnn", None, ""),
        ("test_vit", 64, "patch_embed"),
        ("test_vit", 64, "head"),
        ("swin_tiny_patch4_window7_224", None, "patch_embed.proj"),
    ],
)
def test_a_layer_without_a_map_is_no_cam_layer(name: str, size: int | None, layer: str) -> None:
    with pytest.raises(UserError, match=f"--cam-layer {layer}: "):
        build_model(name, 7, image_size=size, cam_layer=layer)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [("cnn", None, "conv2"), ("test_vit", 64, "blocks.1.norm1"), ("test_resnet", 64, "layer1")],
)
def test_another_layer_with_a_map_is_a_cam_layer(name: str, size: int | None, layer: str) -> None:
    assert build_model(name, 7, image_size=size, cam_layer=layer).cam_layer == layer


def test_a_model_with_two_heads_has_no_branches() -> None:
    with pytest.raises(UserError, match="two heads"):
        build_model("multiscale:deit_tiny_distilled_patch16_224", 7, image_size=48)
