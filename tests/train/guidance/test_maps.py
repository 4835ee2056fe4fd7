import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.explain.methods.attention import rollout, self_attention
from fertool.explain.methods.cams import gradcam, gradcam_abs
from fertool.models import FaceClassifier, build_model
from fertool.models.backbones.cnn import INPUT
from fertool.train.guidance.maps import (
    KINDS,
    check_guidance,
    default_guide_explainer,
    find_linear_head,
    guide_map,
    watched,
)

LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])


def make_map(
    model: FaceClassifier,
    faces: Tensor,
    explainer: str = "gradcam",
    kind: str = "relu",
    *,
    linear_head: str | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The map and the logits of one pass."""
    with watched(model, explainer, linear_head) as watch:
        logits = model(faces)
    dtype = logits.dtype if logits.dtype == torch.float64 else torch.float32
    weights = F.one_hot(LABELS, logits.shape[1]).to(dtype) if weights is None else weights
    return guide_map(watch, logits.to(dtype), weights, kind), logits


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if gradient is None else gradient for gradient in found]


# --- closed form or differentiated twice -------------------------------------------------------------------


def test_the_linear_head_is_found_where_there_is_one(gap, convolved) -> None:
    assert find_linear_head(gap) == "behind3.weight"
    assert find_linear_head(convolved) is None
    assert find_linear_head(build_model("cnn", 7)) is None
    assert find_linear_head(build_model("resnet18", 7)) == "fc.weight"


def test_looking_for_it_leaves_the_model_and_the_random_numbers_as_they_were(gap) -> None:
    before, random = copy.deepcopy(gap.state_dict()), torch.get_rng_state()
    gap.train()
    find_linear_head(gap)
    assert gap.training and all(module.training for module in gap.modules())
    assert all(parameter.requires_grad for parameter in gap.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in gap.state_dict().items())


class AddedUp(nn.Module):
    """Logits of the mean, and of the largest cell a little."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 7)

    def forward(self, maps: Tensor) -> Tensor:
        return self.linear(maps.mean(dim=(2, 3))) + 0.1 * maps.amax(dim=(2, 3))[:, :7]


def test_a_head_that_sees_more_than_the_mean_is_not_linear(gap) -> None:
    network = nn.Sequential(gap.network.conv1, gap.network.pool1, gap.network.conv2, AddedUp())
    model = FaceClassifier(network, "cnn", gap.input_spec, cam_layer="2")
    assert find_linear_head(model) is None


class Scaled(nn.Module):
    """A scale a channel that begins as 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, pooled: Tensor) -> Tensor:
        return self.scale * pooled


@pytest.mark.parametrize("between", [nn.BatchNorm1d(16), nn.BatchNorm1d(16, affine=False), Scaled()])
def test_a_head_that_is_linear_in_the_mean_only_as_it_begins_is_not_linear(pooled, between) -> None:
    model = pooled([nn.AdaptiveAvgPool2d(1), nn.Flatten(), between, nn.Linear(16, 7)])
    assert find_linear_head(model) is None
    assert all(parameter.requires_grad for parameter in model.parameters())


class Reused(nn.Module):
    """One ReLU that runs twice, as is often written; the CAM layer is what it gives the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.relu, self.fc = nn.ReLU(), nn.Linear(16, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = nn.functional.max_pool2d(self.relu(self.conv1(inputs)), 4)
        return self.fc(self.relu(self.conv2(hidden)).mean(dim=(2, 3)))


def test_the_linear_head_is_found_behind_a_layer_that_runs_twice(faces) -> None:
    torch.manual_seed(0)
    model = FaceClassifier(Reused(), "cnn", INPUT, cam_layer="relu").eval()
    assert find_linear_head(model) == "fc.weight"
    heat, _ = make_map(model, faces, linear_head="fc.weight")
    twice, _ = make_map(model, faces)
    assert heat.max() > 0 and torch.allclose(heat, twice, atol=1e-6 * heat.max().item())


@pytest.mark.parametrize("kind", KINDS)
def test_the_closed_form_is_what_differentiating_twice_gives(gap, faces, kind) -> None:
    gap = gap.double().eval()
    heat, _ = make_map(gap, faces, kind=kind, linear_head="behind3.weight")
    twice, _ = make_map(gap, faces, kind=kind)
    assert heat.abs().max() > 0
    assert torch.allclose(heat, twice, rtol=0, atol=1e-9)
    spread = torch.linspace(-1, 1, heat.numel(), dtype=torch.float64).view_as(heat)
    ours, reference = gradients(gap, (heat * spread).sum()), gradients(gap, (twice * spread).sum())
    assert any(gradient.abs().max() > 1e-6 for gradient in reference)
    for gradient, wanted in zip(ours, reference, strict=True):
        assert torch.allclose(gradient, wanted, rtol=0, atol=1e-9)


def test_the_signed_map_adds_up_to_the_logit_less_its_bias(gap, faces) -> None:
    gap.eval()
    for linear_head in (None, "behind3.weight"):
        heat, logits = make_map(gap, faces, kind="signed", linear_head=linear_head)
        label_logit = logits.gather(1, LABELS[:, None])[:, 0] - gap.network.behind3.bias[LABELS]
        assert torch.allclose(heat.sum(dim=(1, 2)), label_logit, atol=1e-5)


@pytest.mark.parametrize("which", ["gap", "convolved", "cnn", "resnet18"])
def test_the_relu_map_is_the_explainers_grad_cam(which, request, faces) -> None:
    model = request.getfixturevalue(which) if which in ("gap", "convolved") else build_model(which, 7)
    model.eval()
    explained = gradcam(model, faces, lambda logits: LABELS[:, None]).heatmaps[:, 0].clamp(min=0)
    heat, _ = make_map(model, faces, linear_head=find_linear_head(model))
    assert explained.max() > 0
    assert torch.allclose(heat, explained, atol=1e-5 * explained.max().item())


def test_the_map_of_a_mix_is_that_of_the_mixed_logit(gap, convolved, faces) -> None:
    shares, partners = torch.linspace(0, 1, 8)[:, None], LABELS.flip(0)
    own, other = (F.one_hot(labels, 7).float() for labels in (LABELS, partners))
    for model, linear_head in ((gap, "behind3.weight"), (convolved, None)):
        model.eval()
        heats = [
            make_map(model, faces, kind="signed", linear_head=linear_head, weights=weights)[0]
            for weights in (shares * own + (1 - shares) * other, own, other)
        ]
        assert torch.allclose(
            heats[0], shares[..., None] * heats[1] + (1 - shares[..., None]) * heats[2], atol=1e-5
        )


@pytest.fixture
def vit_before_blocks() -> FaceClassifier:
    """A vision transformer whose CAM layer is the tokens before the first block."""
    torch.manual_seed(0)
    return build_model("test_vit", 7, image_size=96, cam_layer="norm_pre")


class AttendsOverCells(nn.Module):
    """Attention between the cells of a convolution, which nothing about a network tells beforehand."""

    def forward(self, maps: Tensor) -> Tensor:
        cells = maps.flatten(2).mT
        return F.scaled_dot_product_attention(cells, cells, cells).mT.unflatten(2, maps.shape[2:])


@pytest.fixture
def attending(pooled) -> FaceClassifier:
    return pooled([AttendsOverCells(), nn.Conv2d(16, 7, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()])


@pytest.fixture
def hard_sigmoid(pooled) -> FaceClassifier:
    behind = [nn.Hardsigmoid(inplace=True), nn.Conv2d(16, 7, 3), nn.Tanh()]
    return pooled([*behind, nn.AdaptiveAvgPool2d(1), nn.Flatten()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("which", "weight"),
    [
        ("convolved", "behind1.weight"),
        ("vit_before_blocks", "blocks.0.attn.qkv.weight"),
        ("attending", "conv2.weight"),
        ("hard_sigmoid", "conv2.weight"),
    ],
)
def test_gradients_through_a_nonlinear_head_are_those_of_finite_differences(
    which, weight, request, faces, kind
) -> None:
    model, few = request.getfixturevalue(which).double().eval(), faces[:2]
    weights = F.one_hot(LABELS[:2], 7).double()
    parameter = model.network.get_parameter(weight)
    cells = make_map(model, few, kind=kind, weights=weights)[0].shape
    spread = torch.linspace(-1, 1, cells.numel(), dtype=torch.float64).view(cells)

    def loss() -> Tensor:
        return (make_map(model, few, kind=kind, weights=weights)[0] * spread).sum()

    (gradient,) = torch.autograd.grad(loss(), parameter)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).double()
    step = 1e-6
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter += sign * step * direction
        ends.append(loss().detach())
        with torch.no_grad():
            parameter -= sign * step * direction
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope.abs() > 1e-4
    assert torch.allclose((gradient * direction).sum(), slope, rtol=1e-4)


@pytest.mark.parametrize(("name", "size"), [("mobilenetv3_small_100", 48), ("hiera_tiny_224", None)])
def test_networks_of_timm_with_such_layers_can_guide(name, size, faces) -> None:
    model = build_model(name, 7, image_size=size)
    weights = F.one_hot(LABELS[:2], 7).float()
    heat, _ = make_map(model, faces[:2], kind="abs", weights=weights)
    heat.sum().backward()
    gradient = next(model.parameters()).grad
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


@pytest.mark.parametrize("which", ["gap", "convolved", "hard_sigmoid"])
def test_watching_changes_no_logits_and_leaves_no_hooks(which, request, faces) -> None:
    model = request.getfixturevalue(which).eval()
    plain = model(faces)
    _, logits = make_map(model, faces, linear_head=find_linear_head(model))
    assert torch.allclose(logits, plain, atol=1e-6) if which == "hard_sigmoid" else torch.equal(logits, plain)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["gap", "convolved"])
def test_under_autocast_maps_are_float32_and_close_to_those_without(which, kind, request, faces) -> None:
    model = request.getfixturevalue(which).eval()
    linear_head = find_linear_head(model)
    full, _ = make_map(model, faces, kind=kind, linear_head=linear_head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, logits = make_map(model, faces, kind=kind, linear_head=linear_head)
    assert logits.dtype == torch.bfloat16 and half.dtype == torch.float32
    # a cell at a kink may fall on its other side
    assert (half - full).abs().mean() < 0.03 * full.abs().mean()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model, half.sum()))


@pytest.mark.parametrize("which", ["gap", "convolved"])
def test_behind_a_frozen_backbone_the_head_still_learns(which, request, faces) -> None:
    model = request.getfixturevalue(which)
    for name, parameter in model.network.named_parameters():
        parameter.requires_grad_(name.startswith("behind"))
    heat, _ = make_map(model, faces, linear_head=find_linear_head(model))
    heat.sum().backward()
    for name, parameter in model.network.named_parameters():
        if not name.startswith("behind"):
            assert parameter.grad is None
        elif name.endswith("weight"):  # the map knows nothing of a logit's bias
            assert parameter.grad.abs().max() > 0


def test_a_map_that_is_only_measured_has_no_graph_and_leaves_the_losses(convolved, faces) -> None:
    with watched(convolved, "gradcam") as watch:
        logits = convolved(faces)
    heat = guide_map(watch, logits, F.one_hot(LABELS, 7).float(), "abs", differentiable=False)
    assert not heat.requires_grad
    logits.sum().backward()
    assert convolved.network.conv1.weight.grad.abs().max() > 0


def test_maps_with_channels_last(faces) -> None:
    model = build_model("swin_tiny_patch4_window7_224", 7).eval()
    assert model.maps_channels_last
    few = faces[:1]
    weights = F.one_hot(LABELS[:1], 7).float()
    heat, _ = make_map(model, few, kind="signed", weights=weights)
    explained = gradcam(model, few, lambda logits: LABELS[:1, None]).heatmaps[:, 0]
    assert explained.std() > 0
    assert torch.allclose(heat, explained, atol=1e-5 * explained.abs().max().item())
    heat.sum().backward()
    assert model.layer("patch_embed").proj.weight.grad.abs().max() > 0


# --- attention ---------------------------------------------------------------------------------------------


def test_maps_of_attention_are_the_explainers(small_vit, faces) -> None:
    small_vit.eval()
    for explainer, explain in (("rollout", rollout), ("attention", self_attention)):
        heat, _ = make_map(small_vit, faces, explainer)
        explained = explain(small_vit, faces, lambda logits: LABELS[:, None]).heatmaps[:, 0]
        assert heat.std() > 0
        assert torch.allclose(heat, explained, atol=1e-6)


def test_a_transformers_grad_cam_before_its_blocks_is_the_explainers_and_reaches_the_patches(
    vit_before_blocks, faces
) -> None:
    model = vit_before_blocks.eval()
    assert check_guidance(model, "gradcam", None) == ("gradcam", "abs")
    heat, _ = make_map(model, faces, kind="abs")
    explained = gradcam_abs(model, faces, lambda logits: LABELS[:, None]).heatmaps[:, 0]
    assert heat.shape == (8, model.tokens.rows, model.tokens.columns)
    assert heat.std() > 0
    assert torch.allclose(heat, explained, rtol=1e-4, atol=1e-5 * explained.max().item())
    heat[:, 0].sum().backward()
    assert model.layer("patch_embed").proj.weight.grad.abs().max() > 0


def test_all_blocks_is_the_mean_of_the_blocks(small_vit, faces) -> None:
    small_vit.eval()
    blocks = [
        self_attention(small_vit, faces, lambda logits: LABELS[:, None], block=block).heatmaps[:, 0]
        for block in range(len(small_vit.attention_blocks))
    ]
    heat, _ = make_map(small_vit, faces, "all-blocks")
    assert torch.allclose(heat, torch.stack(blocks).mean(dim=0), atol=1e-6)


def test_a_head_that_pools_the_patches_is_read_there(faces) -> None:
    torch.manual_seed(0)
    model = build_model("vit_tiny_patch16_224", 7, image_size=48).eval()
    tokens = replace(model.tokens, read=0)
    model.views = (replace(model.views[0], tokens=tokens),)
    with watched(model, "attention") as watch:
        logits = model(faces)
    heat = guide_map(watch, logits, torch.zeros(8, 7), "relu")
    rows = watch.attention[0][:, :, tokens.prefix :]
    class_token_row, patch_mean = rows[:, 0], rows[:, tokens.prefix :].mean(dim=1)
    assert not torch.allclose(class_token_row, patch_mean, atol=1e-5)
    assert torch.allclose(heat.flatten(1), patch_mean, atol=1e-6)


@pytest.mark.parametrize(
    ("explainer", "read"), [("rollout", "all"), ("all-blocks", "all"), ("attention", "last")]
)
def test_attention_is_fused_but_where_it_is_read_and_reaches_the_weights(
    small_vit, faces, explainer, read
) -> None:
    modules = [small_vit.layer(name) for name in small_vit.attention_blocks]
    fused = [module.fused_attn for module in modules]
    assert all(fused)
    with watched(small_vit, explainer) as watch:
        assert [module.fused_attn for module in modules] == [
            read == "last" and module is not modules[-1] for module in modules
        ]
        small_vit(faces)
        logits = small_vit(faces)  # a second pass takes the first one's place
    assert [module.fused_attn for module in modules] == fused
    heat = guide_map(watch, logits, torch.zeros(8, 7), "relu")
    assert heat.shape == (8, small_vit.tokens.rows, small_vit.tokens.columns)
    heat[:, 0].sum().backward()
    assert modules[0].qkv.weight.grad.abs().max() > 0


# --- what is refused ---------------------------------------------------------------------------------------


def test_what_cannot_guide_a_model_is_refused_by_name(gap, small_vit) -> None:
    assert default_guide_explainer(len(gap.attention_blocks)) == "gradcam"
    assert default_guide_explainer(len(small_vit.attention_blocks)) == "rollout"
    for model, explainer, kind, words in [
        (gap, "rollout", "relu", "pooled can be guided by gradcam"),
        (small_vit, "occlusion", "relu", "rollout, attention, all-blocks, gradcam"),
        (gap, "occlusion", "relu", "gradcam"),
        (gap, "gradcam", "squared", "relu, abs, signed"),
        (small_vit, "rollout", "abs", "never negative"),
        (build_model("multiscale:cnn", 7), "gradcam", "relu", "several views"),
        (build_model("multiscale:cnn", 7, views="face"), "gradcam", "relu", "several views"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            check_guidance(model, explainer, kind)
        assert "\n" not in str(caught.value)


class Block(nn.Module):
    """A residual block as timm writes it: what comes behind its batch norms works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
        self.act = nn.SiLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        branch = self.norm2(self.act(self.norm1(self.conv(maps))))
        branch += maps
        return self.act(branch)


@pytest.fixture
def normed(pooled) -> FaceClassifier:
    """Batch norms behind the CAM layer, and one before it."""
    behind = [
        nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        Block(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 7),
    ]
    model = pooled(behind)
    model.network.pool1 = nn.Sequential(model.network.pool1, nn.BatchNorm2d(8))
    return model.double().train()


@pytest.mark.parametrize("kind", KINDS)
def test_in_training_a_map_is_what_evaluation_by_the_batchs_statistics_gives(normed, faces, kind) -> None:
    """Though a batch norm behind the layer binds a face's logits to those of all others; so are its gradients."""
    heads = (normed.network.behind2.norm2.weight, normed.network.behind5.weight)  # behind the last of them

    def map_and_gradients() -> tuple[Tensor, ...]:
        heat, logits = make_map(normed, faces, kind=kind)
        spread = torch.linspace(-1, 1, heat.numel(), dtype=torch.float64).view_as(heat)
        return heat.detach(), logits.detach(), *torch.autograd.grad((heat * spread).sum(), heads)

    in_training = map_and_gradients()
    norms = [module for module in normed.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the statistics of one batch
        norm.reset_running_stats()
    normed(faces)
    for norm in norms:
        count = len(faces) * 12 * 12
        norm.running_var *= (count - 1) / count  # kept unbiased, used biased
    normed.eval()
    for found, wanted in zip(in_training, map_and_gradients(), strict=True):
        assert wanted.abs().max() > 1e-6
        assert torch.allclose(found, wanted, rtol=0, atol=1e-7 * wanted.abs().max().item())


def test_a_batch_norm_that_is_the_cam_layer_is_not_behind_it(pooled, faces) -> None:
    """A demand on its map reaches what lies before it through the batch's statistics, as all losses do."""
    model = pooled(
        [nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 7)]
    )
    model.network.relu2 = nn.BatchNorm2d(16)
    model.double().train()
    assert model.cam_layer == "relu2"
    heat, _ = make_map(model, faces, kind="signed")
    # over the batch each channel adds up to the same, whatever comes in: so it must be to the gradient as well
    (activation_sum,) = torch.autograd.grad(
        watched_activation(model, faces).sum(), model.network.conv2.weight, allow_unused=True
    )
    assert activation_sum.abs().max() < 1e-9
    assert torch.autograd.grad(heat[0].sum(), model.network.conv2.weight)[0].abs().max() > 1e-6


def watched_activation(model: FaceClassifier, faces: Tensor) -> Tensor:
    with watched(model, "gradcam") as watch:
        model(faces)
    return watch.activation.value


def test_watching_leaves_the_losses_gradient_through_a_batch_norm_as_it_is(normed, faces) -> None:
    plain = gradients(normed, F.cross_entropy(normed(faces), LABELS))
    with watched(normed, "gradcam") as watch:
        logits = normed(faces)
        guide_map(watch, logits, F.one_hot(LABELS, 7).double(), "abs")
        seen = gradients(normed, F.cross_entropy(logits, LABELS))
    assert all(torch.allclose(*both, rtol=1e-9, atol=1e-12) for both in zip(seen, plain, strict=True))
    assert not any(module._forward_hooks for module in normed.modules())


def test_other_faces_do_not_change_a_map(convolved, faces) -> None:
    convolved.eval()
    whole, _ = make_map(convolved, faces)
    weights = F.one_hot(LABELS[3:5], 7).float()
    alone, _ = make_map(convolved, faces[3:5], weights=weights)
    assert np.allclose(alone.detach(), whole[3:5].detach(), atol=1e-6)
