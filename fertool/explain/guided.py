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

import torch
from torch import Tensor

from fertool.explain.branches import onto_picture
from fertool.explain.cams import class_gradients, each_class_gradients, mean_gradient
from fertool.explain.explainer import ChooseClasses, Explainer, Explanation
from fertool.explain.hooks import affine_norms, captured, guided
from fertool.explain.pixels import add_colours, as_leaf
from fertool.models.classifier import FaceClassifier
from fertool.models.undisturbed import undisturbed


def guided_backprop(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """The gradient of the class's logit by the face's pixels under the guided rule.

    Maps are float32 (B, classes, H, W) at the faces' own resolution, signed, added up over colours. A pixel
    that the logit would fall with counts like one that it would rise with: when scored, cells count by
    their size. Springenberg et al. 2015; it is known to depend little on the weights of the upper layers
    (Adebayo et al. 2018, 'Sanity Checks for Saliency Maps').
    """
    with undisturbed(model), affine_norms(model), guided(model) as guidance, torch.enable_grad():
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
        undisturbed(model),
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
