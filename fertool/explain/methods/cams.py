"""Class activation maps from the gradient at the CAM layer: Grad-CAM, HiResCAM and its absolute, Grad-CAM++.

A CAM weights the feature maps A (B, K, h, w) of the model's CAM layer, taken after its activation, by something made
from G = dy_c / dA, the gradient of the class's logit before any softmax, and adds the K weighted maps up. Maps come
raw and signed: the ReLU with which the papers end is applied when a map is scored, on the layer's own grid. Negative
cells speak against the class and are dropped there, except by `gradcam-size`, which counts each cell of Grad-CAM by
its size. One forward pass, as in inference up to the CAM layer, serves all classes; each class needs a backward pass
through the layers behind the CAM layer only. In a vision transformer the patch tokens at the input of the last block
are the maps (behind the last norm where the head pools the patches); class token and registers are left out of the
map, and the gradient comes through their attention to the patches. A model of several views has a CAM layer and a
map for each, and `join_views` adds the maps.

The option `layer` names another layer of the network, as `gradcam@layer=blocks.4`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.branches import join_views
from fertool.explain.explainer import LAYER, ChooseClasses, Explainer, Explanation, Negatives
from fertool.explain.hooks import captured
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.models.structure.named_layers import maps_at, views_at

ROUNDING = 1e-4  # of the terms of a sum in float32: smaller sums are noise
Combine = Callable[[Tensor, Tensor], Tensor]  # A and G, both (B, K, h, w) -> map (B, h, w)


def explain_at_cam_layer(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, combine: Combine, layer: str | None
) -> Explanation:
    """Maps `combine(A, G)` for each chosen class.

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain (B, K).
        combine: feature maps and gradients, both (B, channels, h, w) -> map (B, h, w).
        layer: the layer to read; None: the model's CAM layer.

    Returns:
        heatmaps float32 (B, K, h, w) and logits.

    Raises:
        UserError: there is no such layer, or it gives no map.
    """
    option = f"layer={layer}"
    views = views_at(model, layer, option)
    with frozen_eval(model), contextlib.ExitStack() as stack:
        activations = [stack.enter_context(captured(model, view.cam_layer)) for view in views]
        with torch.no_grad():
            inputs = model.preprocess(pixels)
        with torch.enable_grad():
            logits = model.logits(inputs)
            features = [
                maps_at(model, view, activation.value, option).detach()
                for view, activation in zip(views, activations, strict=True)
            ]
            outputs = [activation.tensor for activation in activations]
            gradients = list(each_class_gradients(logits, choose(logits.detach()), outputs))
    with torch.autocast(model.device.type, enabled=False):
        heatmaps = []
        for number, view in enumerate(views):
            class_maps = [
                combine(features[number], view.feature_maps(by_view[number]).float()) for by_view in gradients
            ]
            heatmaps.append(torch.stack(class_maps, dim=1))
        return join_views(model, heatmaps, logits, pixels)


def class_gradients(logits: Tensor, classes: Tensor, leaf: Tensor) -> list[Tensor]:
    """The gradient of each chosen class's logit: for `classes` (B, K) a list of K, each shaped like `leaf`.

    Faces do not meet in the network, so the gradient of the logits' sum over the batch is each face's own.
    """
    return [gradient for (gradient,) in each_class_gradients(logits, classes, [leaf])]


def each_class_gradients(
    logits: Tensor, classes: Tensor, leaves: list[Tensor], *, keep_graph: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """As `class_gradients`, by several tensors, one class after the other."""
    # a copy: classes made in inference mode could not be kept for the backward pass
    chosen = logits.gather(1, classes.clone()).sum(dim=0)
    last = len(chosen) - 1
    for number in range(len(chosen)):
        yield torch.autograd.grad(chosen[number], leaves, retain_graph=keep_graph or number < last)


def gradcam(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, layer: str | None = None
) -> Explanation:
    """Grad-CAM: each feature map weighted by the mean of its gradient.

        L_ij = sum_k a_k A_kij        a_k = 1/(h w) sum_ij G_kij

    Selvaraju et al. 2017, 'Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization', equations 1 and 2, before the ReLU of equation 2.
    """
    return explain_at_cam_layer(model, pixels, choose, mean_gradient, layer)


def mean_gradient(maps: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM's way to combine feature maps and gradients, both (B, K, h, w), into maps (B, h, w)."""
    return torch.einsum("bk,bkhw->bhw", gradient.mean(dim=(2, 3)), maps)


def hirescam(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, layer: str | None = None
) -> Explanation:
    """HiResCAM: each cell of a feature map weighted by its own gradient.

        L_ij = sum_k G_kij A_kij

    Draelos and Carin 2020, 'Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
    neural networks'. Raises UserError where the layer lies before a normalisation over channels: a logit does not
    change when all channels of a cell are scaled, so by Euler's theorem G and A are orthogonal in every cell, and the
    map is nothing but rounding.
    """
    explanation, share = _hirescam(model, pixels, choose, layer)
    if torch.is_autocast_enabled(model.device.type):  # its rounding would hide what cancels
        boxes = None if model.boxes is None else model.boxes[:2]
        with torch.autocast(model.device.type, enabled=False), model.looking_at(boxes):
            _, share = _hirescam(model, pixels[:2], choose_first(choose, explanation.logits), layer)
    if share < ROUNDING:
        read = model.cam_layer if layer is None else layer
        raise UserError(
            f"hirescam: the layer {read} lies before a normalisation over channels, where the map is rounding noise; "
            "name another layer (hirescam@layer=NAME), or take gradcam or gradcam-abs"
        )
    return explanation


def _hirescam(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, layer: str | None
) -> tuple[Explanation, float]:
    """HiResCAM, and its largest cell as a share of the largest that its terms have without their signs."""
    sums, sizes = [], []

    def combine(maps: Tensor, gradient: Tensor) -> Tensor:
        terms = maps * gradient
        total = terms.sum(dim=1)
        sums.append(float(total.abs().amax()))
        sizes.append(float(terms.abs().sum(dim=1).amax()))
        return total

    explanation = explain_at_cam_layer(model, pixels, choose, combine, layer)
    return explanation, max(sums) / max(sizes) if max(sizes) > 0 else 1.0


def choose_first(choose: ChooseClasses, logits: Tensor) -> ChooseClasses:
    """The classes that `choose` gives for the first of the faces with these logits (B, C)."""
    classes = choose(logits)
    return lambda first: classes[: len(first)]


def gradcam_abs(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, layer: str | None = None
) -> Explanation:
    """The absolute gradient times activation, added up over the feature maps.

        L_ij = sum_k |G_kij A_kij|

    The terms of HiResCAM (Draelos and Carin 2020) by their size, before any of them cancel: evidence against the
    class counts like evidence for it. It is the map of `fertool train --guide-map abs`. No cell is negative.
    """
    return explain_at_cam_layer(
        model, pixels, choose, lambda maps, gradient: (maps * gradient).abs().sum(dim=1), layer
    )


def gradcam_plus_plus(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, layer: str | None = None
) -> Explanation:
    """Grad-CAM++: each feature map weighted by its positive gradients, cells by how they share them.

        L_ij = sum_k w_k A_kij        w_k = sum_ij alpha_kij relu(G_kij)
        alpha_kij = G_kij^2 / (2 G_kij^2 + G_kij^3 S_k), 0 where G_kij is 0        S_k = relu(sum_ab A_kab)

    Chattopadhay et al. 2018, 'Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks', alpha by equation 19: the paper's score is exp(y_c), whose derivatives are powers
    of G. Where the denominator vanishes it is kept finite by adding 1e-6, as pytorch-grad-cam does, whose maps
    these are at layers after a ReLU; channels whose gradients are below 1e-3 are damped by it. The paper reads such
    layers only, where the sum S of a feature map is not negative. Where maps are signed the denominator could cross
    zero, and alpha jump from minus to plus infinity: a negative sum counts as 0 there, and alpha is 1/2.
    """
    return explain_at_cam_layer(model, pixels, choose, _shared_gradient, layer)


def _shared_gradient(maps: Tensor, gradient: Tensor) -> Tensor:
    squared = gradient.square()
    positive = gradient.clamp(min=0)  # cells with another gradient have no weight
    shared = 2 * squared + squared * positive * maps.sum(dim=(2, 3), keepdim=True).clamp(min=0)
    weights = (squared / (shared + 1e-6) * positive).sum(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, maps)


CAMS = [
    Explainer(
        name=name,
        source=source,
        needs="a CAM layer",
        negatives=cast(Negatives, negatives),
        class_token="left out",
        looks_at_target=True,
        explain=explain,
        options={LAYER: None},
        types={LAYER: str},
        batch_size=256,
        revision=revision,
    )
    for name, source, explain, negatives, revision in [
        ("gradcam", "Selvaraju et al. 2017", gradcam, "drop", 2),
        # evidence against the class counts like evidence for it: the shares of `fertool train --guide-map signed`
        ("gradcam-size", "after Selvaraju et al. 2017", gradcam, "absolute", 2),
        ("hirescam", "Draelos and Carin 2020", hirescam, "drop", 3),
        ("gradcam-abs", "after Draelos and Carin 2020", gradcam_abs, "drop", 2),
        ("gradcam++", "Chattopadhay et al. 2018", gradcam_plus_plus, "drop", 3),
    ]
]
