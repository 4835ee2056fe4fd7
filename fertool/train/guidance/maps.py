"""Differentiable maps of given classes, made from the forward pass that gives the logits.

Convolutional networks have Grad-CAM at the CAM layer, in logits. With A (B, K, h, w) the layer's output,
S = sum_c weight_c logit_c the score that the map explains, and G = dS/dA,

    relu      max(L_ij, 0)      L_ij = sum_k a_k A_kij      a_k = 1/(h w) sum_ij G_kij
    signed    L_ij
    abs       sum_k |G_kij A_kij|

Selvaraju et al. 2017, 'Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization', for L.
Where the logits are linear in the mean of A over its cells, a_k = G_kij = sum_c weight_c W_ck / (h w) with W the
weights of that layer; then nothing needs to be differentiated twice, and the cells of L add up to S less the bias.

Vision transformers have maps of their attention, the same for every class: the class token's attention to the patches
(the mean over the patches' attention where the head reads no class token), mean over heads; never negative. They have
Grad-CAM as well. With `norm_pre` as CAM layer, the tokens before the first block, Grad-CAM shows what each patch gives
before patches are mixed. Attention shows how often a patch is read, not how much is carried from it.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.hooks import Activation, attention_seen, captured
from fertool.explain.methods.attention import attended_in_all_blocks, attended_patches, rolled_out
from fertool.models import FaceClassifier
from fertool.models.classifier import TokenGrid
from fertool.models.frozen_eval import frozen_eval
from fertool.train.guidance.batch_norms import GradientRoute, batch_norms, faces_apart
from fertool.train.guidance.twice_differentiable import twice_differentiable

KINDS = ("relu", "abs", "signed")
OF_ATTENTION = ("rollout", "attention", "all-blocks")
GUIDE_EXPLAINERS = (*OF_ATTENTION, "gradcam")

LINEAR_TOLERANCE = (
    1e-3  # as a share of the largest weight: what single precision leaves between equal numbers
)


@dataclass
class Watch:
    """The tensors of the last forward pass that its map is made of; empty before the first.

    Attributes:
        model: the network.
        explainer: one of GUIDE_EXPLAINERS.
        linear_head: what `find_linear_head` found.
        activation: the CAM layer's output.
        route: which way gradients take through the batch norms behind the CAM layer.
        attention: for each block that is read the attention, mean over heads, (B, T, T).
    """

    model: FaceClassifier
    explainer: str
    linear_head: str | None
    activation: Activation = field(default_factory=Activation)
    route: GradientRoute = field(default_factory=GradientRoute)
    attention: list[Tensor] = field(default_factory=list)


def check_guidance(model: FaceClassifier, explainer: str | None, kind: str | None) -> tuple[str, str]:
    """The explainer and the kind of map that guide the model; None is replaced by the model's default.

    Raises UserError for an explainer that cannot guide the model, or a kind of map that the explainer does not make.
    """
    explainer = explainer or default_guide_explainer(len(model.attention_blocks))
    kind = kind or default_kind(explainer)
    name = model.recipe.get("name", "this model")
    fitting = GUIDE_EXPLAINERS if model.attention_blocks else ("gradcam",)
    if len(model.views) > 1 or model.needs_boxes:
        raise UserError(
            f"--guide: {name} sees the face in several views, and only models with one view can be guided"
        )
    if not model.input_spec.sees_whole_picture:
        raise UserError(
            f"--guide: {name} sees another part of the picture than the masks (--crop-scale); only models that see the "
            "whole picture can be guided"
        )
    if explainer not in fitting:
        raise UserError(f"--guide-explainer {explainer}: {name} can be guided by {', '.join(fitting)}")
    if kind not in KINDS:
        raise UserError(f"--guide-map {kind}: must be {', '.join(KINDS)}")
    if explainer in OF_ATTENTION and kind != "relu":
        raise UserError(f"--guide-map {kind}: attention is never negative, its one map is relu; leave it out")
    return explainer, kind


def default_guide_explainer(attention_blocks: int) -> str:
    """Rollout for a model with attention blocks, else Grad-CAM."""
    return "rollout" if attention_blocks else "gradcam"


def default_kind(explainer: str) -> str:
    """abs for Grad-CAM; for attention its only one, relu."""
    return "abs" if explainer == "gradcam" else "relu"


@contextlib.contextmanager
def watched(model: FaceClassifier, explainer: str, linear_head: str | None = None) -> Generator[Watch]:
    """Inside, each forward pass leaves in the Watch what its map is made of; its graph is not cut.

    The layers before the CAM layer may be frozen. Hooks are on the model's own modules, so the model may be wrapped.
    `linear_head` is what `find_linear_head` found.
    """
    watch = Watch(model, explainer, linear_head)
    if explainer != "gradcam":
        blocks = model.attention_blocks[-1:] if explainer == "attention" else model.attention_blocks

        def see(attention: Tensor) -> Tensor:
            if len(watch.attention) == len(blocks):  # those of the last pass
                watch.attention.clear()
            with torch.autocast(attention.device.type, enabled=False):
                watch.attention.append(attention.float().mean(dim=1))
            return attention

        with attention_seen(model, blocks, see):
            yield watch
        return

    # behind a layer with a linear head comes nothing but a mean: no copy and no second derivative are needed
    twice = linear_head is None
    with contextlib.ExitStack() as inside:
        watch.activation = inside.enter_context(captured(model, model.cam_layer, cut=False, copy=twice))
        if twice:
            watch.route = inside.enter_context(faces_apart(model, lambda: watch.activation.value is not None))
            inside.enter_context(twice_differentiable())
        yield watch


def guide_map(
    watch: Watch, logits: Tensor, class_weights: Tensor, kind: str, *, differentiable: bool = True
) -> Tensor:
    """The map of the score `sum_c class_weights_c logits_c`, from the forward pass that gave these logits.

    Args:
        watch: what the forward pass left.
        logits: (B, C).
        class_weights: (B, C).
        kind: relu, abs or signed.
        differentiable: whether the map has a graph. The logits keep theirs for their own backward pass either way.

    Returns:
        float32 (B, h, w); Grad-CAM in logits (see above), attention in shares.
    """
    with torch.autocast(logits.device.type, enabled=False), torch.set_grad_enabled(differentiable):
        if watch.explainer != "gradcam":
            assert watch.model.tokens is not None  # a model with attention blocks has tokens
            return _ATTENTION_MAPS[watch.explainer](watch.attention, watch.model.tokens)
        activation = watch.activation.value
        assert activation is not None  # the forward pass that gave the logits went through the CAM layer
        maps = watch.model.feature_maps(activation)
        if watch.linear_head is not None:
            weights = watch.model.network.get_parameter(watch.linear_head).flatten(1)
            by_channel = class_weights.to(weights.dtype) @ weights / maps[0, 0].numel()
            if kind == "abs":  # the product of absolutes: no tensor as large as the layer is multiplied
                return _weighted(maps.abs(), by_channel.abs())
            heat = _weighted(maps, by_channel)
        else:
            with torch.enable_grad(), watch.route.for_maps():
                score = (logits * class_weights).sum()
                (gradient,) = torch.autograd.grad(
                    score, activation, retain_graph=True, create_graph=differentiable
                )
            gradient = watch.model.feature_maps(gradient)
            if kind == "abs":
                return (gradient * maps).to(score.dtype).abs().sum(dim=1)
            heat = _weighted(maps, gradient.mean(dim=(2, 3), dtype=score.dtype))
        return heat.clamp(min=0) if kind == "relu" else heat


def _weighted(maps: Tensor, by_channel: Tensor) -> Tensor:
    """The sum over channels of maps (B, K, h, w), weighted by channel (B, K): (B, h, w), in the weights' format."""
    # computed in the maps' own format, as bfloat16 is half the bytes, and with channels last, as convolutions lay out
    # their outputs: the gradient comes in the same layout, and nothing is reordered
    cells = maps.permute(0, 2, 3, 1).flatten(1, 2) @ by_channel.to(maps.dtype)[:, :, None]
    return cells.to(by_channel.dtype).unflatten(1, maps.shape[2:])[..., 0]


def find_linear_head(model: FaceClassifier) -> str | None:
    """The name of the weights W (classes, K) for which logits = W mean(A) + b, where A are the CAM layer's maps.

    None where the logits are another function of A, or may become one as the network learns. It is found by trying maps
    of noise, in evaluation mode, so that dropout before the layer does not count.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    tried: list[Tensor] = []
    normed_behind: list[nn.Module] = []

    def replace(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        tried.append(noise(output).requires_grad_())
        return tried[-1].clone()

    def note(norm: nn.Module, _inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        normed_behind.extend([norm] if tried else [])

    parameters = dict(model.network.named_parameters())
    with frozen_eval(model), torch.enable_grad(), contextlib.ExitStack() as hooks:
        for norm in batch_norms(model):
            hooks.enter_context(norm.register_forward_hook(note))
        hooks.enter_context(model.layer(model.cam_layer).register_forward_hook(replace))
        inputs, slopes = noise(model.empty_input()), []
        for _ in range(2):
            tried.clear()
            (logits,) = model.logits(inputs)
            if normed_behind or not logits.requires_grad:
                return None
            # a layer that runs several times is read when it runs the last time
            slopes.append(torch.stack([_slope(model, logit, tried[-1]) for logit in logits]))
        mean = slopes[0].mean(dim=(2, 3))
        tolerance = LINEAR_TOLERANCE * mean.abs().max()
        if (
            any((slope - mean[:, :, None, None]).abs().max() > tolerance for slope in slopes)
            or not tolerance > 0
        ):
            return None
        weights = mean * slopes[0][0, 0].numel()
        found = (name for name, parameter in parameters.items() if _is_alike(parameter.detach(), weights))
        name = next(found, None)
        if name is None:
            return None
        model.requires_grad_(True)
        gradients = torch.autograd.grad(
            model.logits(inputs).sum(), list(parameters.values()), allow_unused=True
        )
    behind = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    # this finds a scale that begins as 1, which changes no logit yet
    return name if behind <= {name, f"{name.removesuffix('weight')}bias"} else None


def _is_alike(parameter: Tensor, weights: Tensor) -> bool:
    """Whether a parameter is these weights (classes, K), further dimensions of size one aside."""
    if parameter.shape[:2] != weights.shape or parameter.numel() != weights.numel():
        return False
    return bool((parameter.flatten(1) - weights).abs().max() <= LINEAR_TOLERANCE * weights.abs().max())


def _slope(model: FaceClassifier, logit: Tensor, maps: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logit, maps, retain_graph=True)
    return model.feature_maps(gradient)[0]


def _last_block(attention: Sequence[Tensor], tokens: TokenGrid) -> Tensor:
    return attended_patches(attention[-1], tokens)


_ATTENTION_MAPS: dict[str, Callable[[Sequence[Tensor], TokenGrid], Tensor]] = {
    "rollout": rolled_out,
    "attention": _last_block,
    "all-blocks": attended_in_all_blocks,
}
