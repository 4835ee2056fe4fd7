"""Guided backpropagation and Guided Grad-CAM.

The guided rule (Springenberg et al. 2015, 'Striving for Simplicity: The All Convolutional Net', figure 1):
going back through an activation f, the gradient g of its output passes where it is positive and the
activation's input x is positive,

    g_x = f'(x) g 1[g > 0] 1[x > 0]

which is the paper's rule for ReLU, where f' is 1, and for SiLU, GELU and their like the same rule with their
own derivative: negative evidence, and what comes from the saturated side, stops at every activation that is
a module of the network (one called as a function cannot be met on the way back).
"""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fertool.explain.branches import onto_picture
from fertool.explain.explainer import ChooseClasses, Explainer, Explanation
from fertool.explain.hooks import captured
from fertool.explain.methods.cams import class_gradients, each_class_gradients, mean_gradient
from fertool.explain.pixels import add_colours, as_leaf
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval

# rectifying activations: those whose output is positive just where their input is
RECTIFIERS = {
    "ELU",
    "GELU",
    "GELUTanh",
    "HardSwish",
    "Hardswish",
    "LeakyReLU",
    "Mish",
    "QuickGELU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Swish",
}
BLOCKING = {"ReLU", "ReLU6"}


def guided_backprop(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """The gradient of the class's logit by the face's pixels under the guided rule.

    Maps are float32 (B, classes, H, W) at the faces' own resolution, signed, added up over colours. A pixel
    that the logit would fall with counts like one that it would rise with: when scored, cells count by
    their size. Springenberg et al. 2015; it is known to depend little on the weights of the upper layers
    (Adebayo et al. 2018, 'Sanity Checks for Saliency Maps').
    """
    with frozen_eval(model), affine_norms(model), guided(model) as guidance, torch.enable_grad():
        leaf = as_leaf(pixels, model.device)
        logits = model(leaf)
        guidance.on = True
        gradients = class_gradients(logits, choose(logits.detach()), leaf)
    heatmaps = torch.stack([add_colours(gradient) for gradient in gradients], dim=1)
    return Explanation(heatmaps=heatmaps, logits=logits.detach().float())


def guided_gradcam(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """Guided backpropagation times Grad-CAM, pixel by pixel.

        L_p = up(relu(gradcam))_p * guided_p

    Selvaraju et al. 2017, section 'Guided Grad-CAM'. Grad-CAM, rectified, is brought bilinearly to the faces' own
    resolution, where both are multiplied; its gradients are the plain ones (those of several views are
    added). Maps are float32 (B, classes, H, W), signed; when scored, cells count by their size. One forward pass
    serves both.
    """
    with (
        frozen_eval(model),
        affine_norms(model),
        contextlib.ExitStack() as stack,
        guided(model) as guidance,
        torch.enable_grad(),
    ):
        activations = [
            stack.enter_context(captured(model, view.cam_layer, cut=False)) for view in model.views
        ]
        leaf = as_leaf(pixels, model.device)
        logits = model(leaf)
        classes = choose(logits.detach())
        features = [activation.value for activation in activations]
        plain = list(each_class_gradients(logits, classes, features, keep_graph=True))
        guidance.on = True
        gradients = class_gradients(logits, classes, leaf)
    heatmaps = []
    with torch.autocast(model.device.type, enabled=False):
        for at_layers, at_pixels in zip(plain, gradients, strict=True):
            fine = torch.zeros_like(add_colours(at_pixels))
            for view, activation, at_layer in zip(model.views, features, at_layers, strict=True):
                maps = view.feature_maps(activation.detach()).float()
                cam = mean_gradient(maps, view.feature_maps(at_layer).float()).clamp(min=0)
                fine += onto_picture(model, view, cam[:, None], pixels)[:, 0]
            heatmaps.append(fine * add_colours(at_pixels))
    return Explanation(heatmaps=torch.stack(heatmaps, dim=1), logits=logits.detach().float())


@dataclass
class Guidance:
    """Whether gradients follow the guided rule just now, or are plain."""

    on: bool = False


@contextlib.contextmanager
def guided(model: FaceClassifier) -> Iterator[Guidance]:
    """Let gradients pass rectifying activations by the guided rule while `Guidance.on`."""
    guidance = Guidance()

    def follow(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        if type(module).__name__ in BLOCKING:
            # its own derivative, 0 or 1, asks for a positive input; what it has made is nobody else's yet
            output.grad_fn.register_hook(
                lambda inputs, outputs: (inputs[0].clamp_(min=0),) if guidance.on else None
            )
        else:
            # the output's sign is the input's, which an in-place activation has overwritten
            positive = output.detach() > 0
            output.register_hook(lambda grad: grad.clamp(min=0) * positive if guidance.on else grad)

    with contextlib.ExitStack() as hooks:
        for module in model.network.modules():
            if type(module).__name__ in RECTIFIERS:
                hooks.enter_context(module.register_forward_hook(follow))
        yield guidance


@contextlib.contextmanager
def affine_norms(model: FaceClassifier) -> Iterator[None]:
    """Let the batch norms compute, in evaluation mode, the affine map that they are: y = s x + t.

        s = weight / sqrt(variance + eps)        t = bias - mean s

    The way back is then one product, and nothing need be kept for it from the forward pass: PyTorch keeps each
    norm's input, half of all that a gradient by the pixels keeps in a residual network.
    """
    norms = [module for module in model.network.modules() if _is_affine(module)]
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


GUIDED = [
    Explainer(
        name=name,
        source=source,
        needs="a convolutional network",
        negatives="absolute",
        class_token="none there",
        looks_at_target=True,
        explain=explain,
    )
    for name, source, explain in [
        ("guided-backprop", "Springenberg et al. 2015", guided_backprop),
        ("guided-gradcam", "Selvaraju et al. 2017", guided_gradcam),
    ]
]
