from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.hooks import attention_seen
from fertool.explain.methods.attention import all_blocks, attention_gradcam, rollout, self_attention
from fertool.models import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.train.guidance.maps import guide_map, watched

TRANSFORMERS = [
    ("vit_tiny_patch16_224", 112),  # class token
    ("deit_tiny_patch16_224", 112),
    ("vit_medium_patch16_gap_240", 80),  # neither class token nor registers
    ("test_vit4", 80),  # a register, the patches' mean
    ("vit_small_patch14_reg4_dinov2", 70),  # class token and four registers
]


@dataclass
class ByHand:
    """A vision transformer computed step by step from its own weights."""

    logits: Tensor
    attention: list[Tensor]  # a block each, (B, heads, T, T)


def by_hand(model: FaceClassifier, faces: Tensor) -> ByHand:
    """Every block from its qkv weights; patches, positions and head are the network's own."""
    network = model.network
    x = network.norm_pre(network._pos_embed(network.patch_embed(model.preprocess(faces))))
    attention = []
    for block in network.blocks:
        attend, (batch, tokens, width) = block.attn, x.shape
        weight = attend.qkv.weight.chunk(3)
        bias = attend.qkv.bias.chunk(3) if attend.qkv.bias is not None else [0.0] * 3
        y = block.norm1(x)
        q, k, v = (
            (y @ w.T + b).view(batch, tokens, attend.num_heads, -1).transpose(1, 2)
            for w, b in zip(weight, bias, strict=True)
        )
        q, k = attend.q_norm(q), attend.k_norm(k)
        attention.append((q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=3))
        mixed = (attention[-1] @ v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + block.ls1(mixed @ attend.proj.weight.T + attend.proj.bias)
        x = x + block.ls2(block.mlp(block.norm2(x)))
    return ByHand(network.forward_head(network.norm(x)), attention)


def read(model: FaceClassifier, relevance: Tensor) -> Tensor:
    """From (B, T, T) the class token's row, or the mean of the patches' rows, without the prefix: (B, h, w)."""
    prefix, tokens = model.network.num_prefix_tokens, relevance.shape[1]
    row = (
        relevance[:, 0]
        if model.network.global_pool == "token"
        else relevance[:, prefix:].sum(dim=1) / (tokens - prefix)
    )
    side = int((tokens - prefix) ** 0.5)
    return row[:, prefix:].reshape(len(row), side, side)


@pytest.mark.parametrize(("name", "size"), TRANSFORMERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"fusion": "max"}, {"fusion": "min"}, {"residual": 0.2}, {"discard": 0.9, "fusion": "max"}],
)
def test_rollout_as_the_paper_has_it(name, size, options, built, faces, predicted, close) -> None:
    model = built(name, size)
    with torch.no_grad():
        reference = by_hand(model, faces)
    fuse = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}[options.get("fusion", "mean")]
    residual = options.get("residual", 0.5)
    product = identity = torch.eye(reference.attention[0].shape[-1])
    for attention in reference.attention:
        fused = fuse(attention, dim=1)
        if "discard" in options:
            for matrix in fused:
                count = int(options["discard"] * matrix.numel())
                matrix.view(-1)[matrix.view(-1).argsort()[:count]] = 0
        mixed = (1 - residual) * fused + residual * identity
        product = mixed / mixed.sum(dim=2, keepdim=True) @ product
    ours = rollout(model, faces, predicted, **options)
    close(ours.heatmaps[:, 0], read(model, product))
    close(ours.logits, reference.logits)


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_a_row_that_lost_all_its_entries_leads_nowhere(fusion, built, faces, predicted) -> None:
    model = built("test_vit", 160)
    maps = rollout(model, faces, predicted, residual=0.0, discard=0.95, fusion=fusion).heatmaps
    assert torch.isfinite(maps).all() and (maps >= 0).all() and maps.any()


def test_two_class_tokens_are_read_in_the_mean(built, faces, predicted, close) -> None:
    model = built("deit_tiny_distilled_patch16_224", 48)
    with torch.no_grad():
        attention = by_hand(model, faces).attention[-1].mean(dim=1)
    maps = self_attention(model, faces, predicted).heatmaps[:, 0]
    close(maps.flatten(1), attention[:, :2, 2:].mean(dim=1))


@pytest.mark.parametrize(("name", "size"), TRANSFORMERS)
def test_self_attention_is_the_blocks(name, size, built, faces, predicted, close) -> None:
    model = built(name, size)
    with torch.no_grad():
        attention = by_hand(model, faces).attention
    close(self_attention(model, faces, predicted).heatmaps[:, 0], read(model, attention[-1].mean(dim=1)))
    close(
        self_attention(model, faces, predicted, block=2, head=1).heatmaps[:, 0],
        read(model, attention[2][:, 1]),
    )


@pytest.mark.parametrize(("name", "size"), TRANSFORMERS)
def test_all_blocks_is_the_mean_of_the_blocks_and_the_map_that_guides(
    name, size, built, faces, predicted, close
) -> None:
    model = built(name, size)
    with torch.no_grad():
        attention = by_hand(model, faces).attention
        with watched(model, "all-blocks") as watch:
            logits = model(faces)
        guiding = guide_map(watch, logits, torch.zeros_like(logits), "relu")
    explained = all_blocks(model, faces, predicted).heatmaps[:, 0]
    close(explained, read(model, torch.stack(attention).mean(dim=(0, 2))))
    close(explained, guiding, tolerance=1e-6)


@pytest.mark.parametrize(("name", "size"), TRANSFORMERS)
def test_gradient_weighted_attention_as_the_paper_has_it(name, size, built, faces, fixed, close) -> None:
    model = built(name, size)
    ours = attention_gradcam(model, faces[:2], fixed(3)).heatmaps[:, 0]
    reference = by_hand(model, faces[:2])
    gradients = torch.autograd.grad(reference.logits[:, 3].sum(), reference.attention)
    relevance = torch.eye(reference.attention[0].shape[-1])
    for attention, gradient in zip(reference.attention, gradients, strict=True):
        relevance = relevance + (gradient * attention).clamp(min=0).mean(dim=1) @ relevance
    close(ours, read(model, relevance.detach()))


@pytest.mark.parametrize("explain", [rollout, all_blocks, attention_gradcam])
@pytest.mark.parametrize(("name", "size"), [*TRANSFORMERS, ("test_vit3", 80)])
def test_logits_agree_with_the_fused_ones(explain: Callable, name, size, built, faces, predicted) -> None:
    model = built(name, size)
    with torch.no_grad():
        fused = model(faces)
    assert (explain(model, faces, predicted).logits - fused).abs().max() <= 1e-4


def fused_flags(model: FaceClassifier) -> list[bool]:
    return [model.layer(block).fused_attn for block in model.attention_blocks]


def test_fused_attention_is_off_only_where_it_is_looked_at(built, faces) -> None:
    model = built("test_vit", 80)
    model.layer(model.attention_blocks[1]).fused_attn = False  # one that somebody else has switched off
    before, seen = fused_flags(model), []
    try:
        with (
            frozen_eval(model),
            attention_seen(model, model.attention_blocks[2:4], lambda a: seen.append(a) or a),
        ):
            assert fused_flags(model) == [True, False, False, False, True, True]
            with torch.no_grad():
                model(faces)
        assert fused_flags(model) == before and len(seen) == 2
        with pytest.raises(ZeroDivisionError), attention_seen(model, model.attention_blocks, lambda a: a):
            assert not any(fused_flags(model))
            _ = 1 / 0
        assert fused_flags(model) == before
        assert not any(module._forward_pre_hooks for module in model.modules())
    finally:
        model.layer(model.attention_blocks[1]).fused_attn = True


def test_attention_rows_add_up_to_one(built, faces) -> None:
    model, seen = built("vit_small_patch14_reg4_dinov2", 70), []
    with frozen_eval(model), attention_seen(model, model.attention_blocks, lambda a: seen.append(a) or a):
        model(faces)
    assert len(seen) == 12
    for attention in seen:
        assert attention.shape == (3, 6, 30, 30)
        assert torch.allclose(attention.sum(dim=-1), torch.ones(3, 6, 30), atol=1e-5)


def test_rollout_and_attention_ignore_the_target(built, faces, fixed) -> None:
    model = built("test_vit", 80)
    for explain in (rollout, self_attention, all_blocks):
        maps = explain(model, faces, fixed(0, 5)).heatmaps
        assert torch.equal(maps[:, 0], maps[:, 1])
    maps = attention_gradcam(model, faces, fixed(0, 5)).heatmaps
    assert not torch.allclose(maps[:, 0], maps[:, 1])


def test_rollout_is_its_block_where_there_is_one_without_residual(built, faces, predicted) -> None:
    model = built("test_vit", 80)
    attention = self_attention(model, faces, predicted, block=0).heatmaps
    single = FaceClassifier(
        model.network,
        "transformer",
        model.input_spec,
        model.cam_layer,
        tokens=model.tokens,
        attention_blocks=model.attention_blocks[:1],
    )
    assert torch.allclose(rollout(single, faces, predicted, residual=0.0).heatmaps, attention, atol=1e-6)
    assert torch.count_nonzero(rollout(single, faces, predicted, residual=1.0).heatmaps) == 0


@pytest.mark.parametrize(
    ("explain", "options", "message"),
    [
        (rollout, {"fusion": "median"}, "rollout@fusion=median: must be mean, max or min"),
        (rollout, {"discard": 1.0}, "rollout@discard=1.0"),
        (rollout, {"residual": -0.1}, "residual=-0.1"),
        (self_attention, {"block": 6}, "attention@block=6: the model has blocks 0 to 5"),
        (self_attention, {"block": -7}, "attention@block=-7"),
        (self_attention, {"head": 99}, "attention@head=99: the block has heads 0 to"),
    ],
)
def test_options_that_are_none(explain, options, message, built, faces, predicted) -> None:
    model = built("test_vit", 80)
    with pytest.raises(UserError, match=message):
        explain(model, faces, predicted, **options)
    assert all(fused_flags(model))


def test_pooling_by_attention_is_no_attention_block(built) -> None:
    model = built("test_vit3", 80)
    assert isinstance(model.network.attn_pool, nn.Module)
    assert model.attention_blocks == tuple(f"blocks.{number}.attn" for number in range(9))
