"""Guided backpropagation and Guided Grad-CAM.

The guided rule (Springenberg et al. 2015, 'Striving for Simplicity: The All Convolutional Net', figure 1):
going back through an activation f, the gradient g of its output passes where it is positive and the
activation's input x is positive,

    g_x = f'(x) g 1[g > 0] 1[x > 0]

This is the paper's rule for ReLU, where f' is 1; for SiLU, GELU and their relatives it is the same rule with their
own derivative: negative evidence, and gradients from the saturated side, stop at every activation. Activations are
found in autograd's graph (`fertool.explain.methods.rectifiers`); a network with an activation that is no rectifier is
refused, since its map would be partly the plain gradient.
"""

import contextlib
import functools
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.branches import onto_picture
from fertool.explain.explainer import LAYER, ChooseClasses, ExplainBatch, Explainer, Explanation, Option
from fertool.explain.hooks import captured
from fertool.explain.methods.cams import class_gradients, each_class_gradients, mean_gradient
from fertool.explain.methods.rectifiers import find_rectifiers
from fertool.explain.pixels import add_colours, as_leaf
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.models.structure.named_layers import maps_at, views_at


def guided_backprop(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """The gradient of the class's logit by the face's pixels under the guided rule.

    Maps are float32 (B, classes, H, W) at the faces' own resolution, signed, added up over colours. A pixel
    that the logit would fall with counts like one that it would rise with: when scored, cells count by
    their size. Springenberg et al. 2015; it is known to depend little on the weights of the upper layers
    (Adebayo et al. 2018, 'Sanity Checks for Saliency Maps'). Raises UserError for a network whose activations are
    not all rectifiers.
    """
    with frozen_eval(model), affine_norms(model), torch.enable_grad():
        leaf = as_leaf(pixels, model.device)
        logits = model(leaf)
        guide_gradients(model, logits)
        gradients = class_gradients(logits, choose(logits.detach()), leaf)
    heatmaps = torch.stack([add_colours(gradient) for gradient in gradients], dim=1)
    return Explanation(heatmaps=heatmaps, logits=logits.detach().float())


def guided_gradcam(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, layer: str | None = None
) -> Explanation:
    """Guided backpropagation times Grad-CAM, pixel by pixel.

        L_p = up(relu(gradcam))_p * guided_p

    Selvaraju et al. 2017, section 'Guided Grad-CAM'. Grad-CAM, rectified, is brought bilinearly to the faces' own
    resolution, where both are multiplied; its gradients are the plain ones (the maps of several views are
    added). Maps are float32 (B, classes, H, W), signed; when scored, cells count by their size. One forward pass
    serves both. Raises UserError as `guided_backprop` does, and for a `layer` that there is not.
    """
    option = f"layer={layer}"
    views = views_at(model, layer, option)
    with frozen_eval(model), affine_norms(model), contextlib.ExitStack() as stack, torch.enable_grad():
        activations = [stack.enter_context(captured(model, view.cam_layer, cut=False)) for view in views]
        leaf = as_leaf(pixels, model.device)
        logits = model(leaf)
        classes = choose(logits.detach())
        features = [
            maps_at(model, view, activation.value, option).detach()
            for view, activation in zip(views, activations, strict=True)
        ]
        outputs = [activation.tensor for activation in activations]
        plain = list(each_class_gradients(logits, classes, outputs, keep_graph=True))
        guide_gradients(model, logits)
        gradients = class_gradients(logits, classes, leaf)
    heatmaps = []
    with torch.autocast(model.device.type, enabled=False):
        for at_layers, at_pixels in zip(plain, gradients, strict=True):
            fine = torch.zeros_like(add_colours(at_pixels))
            for view, maps, at_layer in zip(views, features, at_layers, strict=True):
                cam = mean_gradient(maps, view.feature_maps(at_layer).float()).clamp(min=0)
                fine += onto_picture(model, view, cam[:, None], pixels)[:, 0]
            heatmaps.append(fine * add_colours(at_pixels))
    return Explanation(heatmaps=torch.stack(heatmaps, dim=1), logits=logits.detach().float())


def guide_gradients(model: FaceClassifier, logits: Tensor) -> None:
    """Let every gradient of these logits (B, C) follow the guided rule from now on.

    Raises UserError where the network has activations that are no rectifiers, or none that is.
    """
    rectifiers = find_rectifiers(logits)
    name = model.recipe.get("name", "the network")
    if rectifiers.others or not rectifiers.found:
        which = (
            f"activations that are no rectifiers ({', '.join(rectifiers.others)})"
            if rectifiers.others
            else ("no rectifying activation")
        )
        raise UserError(
            f"guided-backprop, guided-gradcam: {name} has {which}, to which the guided rule does not apply; take "
            "input-gradient or integrated-gradients"
        )
    for node, value in rectifiers.found:
        node.register_prehook(functools.partial(_guided, value))


def _guided(value: Tensor | None, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (gradient,) = gradients
    passed = gradient.clamp(min=0)
    return (passed if value is None else passed * (value > 0),)


@contextlib.contextmanager
def affine_norms(model: FaceClassifier) -> Generator[None]:
    """Let the batch norms compute, in evaluation mode, the affine map that they are: y = s x + t.

        s = weight / sqrt(variance + eps)        t = bias - mean s

    The way back is then one product, and nothing need be kept for it from the forward pass: PyTorch keeps each
    norm's input, half of all tensors that a gradient by the pixels keeps in a residual network.
    """
    norms: list[Any] = [module for module in model.network.modules() if _is_affine(module)]
    try:
        for norm in norms:
            scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
            shift = norm.bias.detach() - norm.running_mean * scale
            norm.forward = functools.partial(
                _affine, norm, scale=scale.view(1, -1, 1, 1), shift=shift.view(1, -1, 1, 1)
            )
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _is_affine(module: nn.Module) -> bool:
    kept = type(module) is nn.BatchNorm2d and module.affine and module.running_var is not None
    return kept and "forward" not in module.__dict__  # nobody else stands in for it


def _affine(norm: nn.BatchNorm2d, inputs: Tensor, *, scale: Tensor, shift: Tensor) -> Tensor:
    if inputs.dtype != scale.dtype:  # a norm of lower precision computes in higher
        return nn.BatchNorm2d.forward(norm, inputs)
    return torch.addcmul(shift, inputs, scale)


def _guided_explainer(
    name: str,
    source: str,
    explain: ExplainBatch,
    options: dict[str, Option],
    types: dict[str, type],
) -> Explainer:
    return Explainer(
        name=name,
        source=source,
        needs="a convolutional network",
        negatives="absolute",
        class_token="none there",
        looks_at_target=True,
        explain=explain,
        options=options,
        types=types,
        revision=2,
    )


GUIDED = [
    _guided_explainer("guided-backprop", "Springenberg et al. 2015", guided_backprop, {}, {}),
    _guided_explainer("guided-gradcam", "Selvaraju et al. 2017", guided_gradcam, {LAYER: None}, {LAYER: str}),
]
