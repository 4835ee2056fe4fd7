import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from fertool.errors import UserError
from fertool.models import build_model, load_model, save_model
from fertool.models.backbones.timm_backbone import heads
from fertool.models.classifier import TokenGrid


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet50", 224, "layer4"),
        ("resnet50", 112, "layer3"),
        ("efficientnet_b0", 224, "bn2"),
        ("mobilenetv3_large_100", 224, "blocks"),
        ("mobilenetv3_small_100", 224, "blocks"),
        ("resnet18", 224, "layer4"),
        ("convnext_atto", 224, "norm_pre"),
        ("densenet121", 224, "features"),
    ],
)
def test_convolutional_networks_are_read_at_their_last_map(name: str, size: int, layer: str) -> None:
    model = build_model(name, 7, image_size=size)
    assert (model.family, model.cam_layer, model.attention_blocks) == ("cnn", layer, ())
    assert model.input_spec.size == size


def test_swin_is_a_transformer_without_tokens_that_keep_their_places() -> None:
    model = build_model("swin_tiny_patch4_window7_224", 7)
    assert (model.family, model.cam_layer, model.attention_blocks) == ("transformer", "norm", ())
    assert model.maps_channels_last and model.tokens is None


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("vit_tiny_patch16_224", None, TokenGrid(prefix=1, read=1, rows=14, columns=14)),
        ("deit_tiny_patch16_224", 64, TokenGrid(prefix=1, read=1, rows=4, columns=4)),
        ("vit_small_patch14_reg4_dinov2", 70, TokenGrid(prefix=5, read=1, rows=5, columns=5)),
        ("vit_medium_patch16_gap_240", 80, TokenGrid(prefix=0, read=0, rows=5, columns=5)),
        ("test_vit4", 80, TokenGrid(prefix=1, read=0, rows=5, columns=5)),
        ("deit_tiny_distilled_patch16_224", 64, TokenGrid(prefix=2, read=2, rows=4, columns=4)),
        # a class token that the head does not read: it takes the patches' mean
        ("eva02_tiny_patch14_224", 70, TokenGrid(prefix=1, read=0, rows=5, columns=5)),
    ],
)
def test_tokens(name: str, size: int | None, tokens: TokenGrid) -> None:
    model = build_model(name, 7, image_size=size)
    last = len(model.network.blocks) - 1
    assert (model.family, model.tokens) == ("transformer", tokens)
    assert model.cam_layer == (f"blocks.{last}.norm1" if tokens.read else "norm")
    assert model.attention_blocks == tuple(f"blocks.{number}.attn" for number in range(last + 1))


def test_differential_attention_is_not_read_as_attention() -> None:
    model = build_model("vit_dwee_patch16_reg1_gap_256", 7, image_size=64)
    assert model.tokens is not None and model.attention_blocks == ()


def test_an_encoder_without_a_classifier_is_one_line() -> None:
    class Encoder(nn.Module):
        pretrained_cfg: ClassVar = {"architecture": "encoder", "classifier": None}

    with pytest.raises(UserError, match="encoder has no classifier"):
        heads(Encoder())


def test_tokens_that_do_not_all_pass_all_blocks_are_no_plain_transformer() -> None:
    """CaiT's class token comes in behind its blocks."""
    model = build_model("cait_xxs24_224", 7, image_size=64 * 2)
    assert model.tokens is None and model.attention_blocks == ()


@pytest.mark.parametrize(
    ("name", "size"),
    [("mvitv2_tiny", 64), ("pvt_v2_b0", 64), ("xcit_nano_12_p16_224", 112)],
)
def test_transformers_of_other_shapes_have_a_layer_to_read(name: str, size: int) -> None:
    model = build_model(name, 7, image_size=size)
    assert model.family == "transformer" and model.tokens is None
    assert model.layer(model.cam_layer) is not None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("densenet121", {"drop_path": 0.1}, "--drop-path: densenet121 has none; leave the option out"),
        ("cnn", {"drop_path": 0.1}, "--drop-path: cnn has no such setting; leave the option out"),
        ("resnet18", {"channels": 1}, "--channels: resnet18 has no such setting"),
    ],
)
def test_what_the_architecture_does_not_have_is_one_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(name, 7, **options)


KEEPS_CHANNELS_LAST = {"test_resnet": True, "repvgg_a0": False, "test_efficientnet": True}


@pytest.mark.parametrize("name", KEEPS_CHANNELS_LAST)
def test_a_network_that_crashes_in_channels_last_stays_in_the_default_format(name: str) -> None:
    """repvgg's 1x1 convolution of stride 2 on 3 channels."""
    keeps = KEEPS_CHANNELS_LAST[name]
    model = build_model(name, 7, image_size=64)
    assert model.channels_last == keeps
    inputs = model.preprocess(torch.zeros(2, 48, 48))
    assert inputs.is_contiguous(memory_format=torch.channels_last) == keeps
    assert build_model(f"multiscale:{name}", 7, image_size=64).channels_last == keeps


def test_none_of_them_crashes_in_training() -> None:
    """A few steps of each, in a process of its own that a crash would end."""
    steps = (
        "import torch; from fertool.models import build_model\n"
        f"for name in {list(KEEPS_CHANNELS_LAST)}:\n"
        "    model = build_model(name, 7, image_size=64).train()\n"
        "    [model(torch.zeros(4, 48, 48)).sum().backward() for _ in range(3)]"
    )
    done = subprocess.run(
        [sys.executable, "-c", steps], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_stochastic_depth() -> None:
    model = build_model("test_vit", 7, image_size=64, drop_path=0.5, dropout=0.25)
    rates = [module.drop_prob for module in model.network.modules() if hasattr(module, "drop_prob")]
    assert max(rates) == 0.5
    assert model.network.head_drop.p == 0.25


def test_faces_of_any_size_are_brought_to_the_networks_input() -> None:
    model = build_model("test_resnet", 5, image_size=64).eval()
    faces = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    inputs = model.preprocess(faces)
    assert inputs.shape == (2, 3, 64, 64)
    assert model(faces).shape == (2, 5)
    white = model.preprocess(torch.full((1, 48, 48), 255))
    mean, std = (np.array(values) for values in (model.input_spec.mean, model.input_spec.std))
    assert np.allclose(white[0, :, 5, 5], (1 - mean) / std, atol=1e-5), (
        "the statistics of its pretrained weights"
    )


def test_convolutional_weights_lie_channels_last_where_they_are_used(tmp_path) -> None:
    save_model(build_model("test_resnet", 5, image_size=64), tmp_path / "best.safetensors")
    model = load_model(tmp_path / "best.safetensors")
    weights = [p for p in model.network.parameters() if p.ndim == 4]
    assert weights and all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    assert model.preprocess(torch.zeros(1, 48, 48)).is_contiguous(memory_format=torch.channels_last)


def test_saved_and_loaded(tmp_path) -> None:
    torch.manual_seed(0)
    model = build_model("test_vit", 5, image_size=64).eval()
    save_model(model, tmp_path / "best.safetensors")
    loaded = load_model(tmp_path / "best.safetensors")
    faces = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    assert loaded.recipe == model.recipe
    assert torch.equal(loaded(faces), model(faces))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (
            "vit_tiny_patch16_224",
            100,
            "patches of 16 pixels do not tile 100: give a multiple as --image-size",
        ),
        ("resnet50", 6, "no layer of ResNet has 7x7 cells at 6 pixels: give a larger --image-size"),
        ("resnet51", None, "no model 'resnet51'; the nearest names are .*resnet50"),
        ("vit_tiny_patch16_224", 32, "leave 2x2 cells at 32, and a map needs at least 3x3: give 48 or more"),
        ("crossvit_9_240", None, "cannot be explained: it has two grids of patches side by side"),
        ("tnt_s_legacy_patch16_224", None, "cannot be explained: it has tokens within its tokens"),
        ("naflexvit_base_patch16_gap", None, "cannot be explained: it takes patches in place of images"),
        ("mvitv2_tiny", 50, r"takes no images of 50 pixels \(IndexError.*; give .*64 as --image-size"),
        ("coatnet_pico_rw_224", 16, r"takes no images of 16 pixels \(.*; give 32 as --image-size"),
    ],
)
def test_what_cannot_be_built_is_one_line(name: str, size: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_model(name, 7, image_size=size)
    assert "\n" not in str(error.value)
