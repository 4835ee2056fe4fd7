"""Class activation maps from the gradient at the CAM layer: Grad-CAM, HiResCAM and its absolute, Grad-CAM++.

They weight the feature maps A (B, K, h, w) of the model's CAM layer, taken after its activation, by
something made from G = dy_c / dA, the gradient of the class's logit before any softmax, and add them up over
the K channels. They come raw and signed: the ReLU with which the papers end is applied when a map is scored,
on the layer's own grid; negative cells speak against the class and are dropped there, except by
`gradcam-size`, which counts each cell of Grad-CAM by its size. One forward pass, as in inference up to the
CAM layer, and a backward pass a class through the layers behind it only. In a vision transformer the patch
tokens at the input of the last block are the maps (behind the last norm where the head pools them); class
token and registers are left out of the map, and the gradient comes through their attention to the patches.
In a model of several views each has its CAM layer and its map, and `explanation_of` adds them.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fertool.explain.branches import explanation_of
from fertool.explain.explainer import ChooseClasses, Explainer, Explanation
from fertool.explain.hooks import captured
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval

Combine = Callable[[Tensor, Tensor], Tensor]  # A and G, both (B, K, h, w) -> map (B, h, w)


def explain_at_cam_layer(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, combine: Combine
) -> Explanation:
    """Maps `combine(A, G)` for each chosen class: float32 (B, classes, h, w)."""
    with frozen_eval(model), contextlib.ExitStack() as stack:
        activations = [stack.enter_context(captured(model, view.cam_layer)) for view in model.views]
        with torch.no_grad():
            inputs = model.preprocess(pixels)
        with torch.enable_grad():
            logits = model.logits(inputs)
            features = [activation.value for activation in activations]
            gradients = list(each_class_gradients(logits, choose(logits.detach()), features))
    with torch.autocast(model.device.type, enabled=False):
        heatmaps = []
        for number, view in enumerate(model.views):
            maps = view.feature_maps(features[number].detach()).float()
            of_classes = [combine(maps, view.feature_maps(by[number]).float()) for by in gradients]
            heatmaps.append(torch.stack(of_classes, dim=1))
        return explanation_of(model, heatmaps, logits, pixels)


def class_gradients(logits: Tensor, classes: Tensor, of: Tensor) -> list[Tensor]:
    """The gradient of each chosen class's logit: for `classes` (B, K) a list of K, each shaped like `of`.

    Faces do not meet in the network, so the gradient of the logits' sum over the batch is each face's own.
    """
    return [gradient for (gradient,) in each_class_gradients(logits, classes, [of])]


def each_class_gradients(
    logits: Tensor, classes: Tensor, of: list[Tensor], *, keep_graph: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """As `class_gradients`, by several tensors, one class after the other."""
    # a copy: classes made in inference mode could not be kept for the backward pass
    chosen = logits.gather(1, classes.clone()).sum(dim=0)
    last = len(chosen) - 1
    for number in range(len(chosen)):
        yield torch.autograd.grad(chosen[number], of, retain_graph=keep_graph or number < last)


def gradcam(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """Grad-CAM: each feature map weighted by the mean of its gradient.

        L_ij = sum_k a_k A_kij        a_k = 1/(h w) sum_ij G_kij

    Selvaraju et al. 2017, 'Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization', equations 1 and 2, before the ReLU of equation 2.
    """
    return explain_at_cam_layer(model, pixels, choose, mean_gradient)


def mean_gradient(maps: Tensor, gradient: Tensor) -> Tensor:
    """How Grad-CAM combines feature maps and gradients, both (B, K, h, w), into maps (B, h, w)."""
    return torch.einsum("bk,bkhw->bhw", gradient.mean(dim=(2, 3)), maps)


def hirescam(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """HiResCAM: each cell of a feature map weighted by its own gradient.

        L_ij = sum_k G_kij A_kij

    Draelos and Carin 2020, 'Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
    neural networks'.
    """
    return explain_at_cam_layer(model, pixels, choose, lambda maps, gradient: (maps * gradient).sum(dim=1))


def gradcam_abs(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """The absolute gradient times activation, added up over the feature maps.

        L_ij = sum_k |G_kij A_kij|

    The terms of HiResCAM (Draelos and Carin 2020) by their size, before any of them cancel: evidence against the
    class counts like evidence for it. It is the map of `fertool train --guide-map abs`. No cell is negative.
    """
    return explain_at_cam_layer(
        model, pixels, choose, lambda maps, gradient: (maps * gradient).abs().sum(dim=1)
    )


def gradcam_plus_plus(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """Grad-CAM++: each feature map weighted by its positive gradients, cells by how they share them.

        L_ij = sum_k w_k A_kij        w_k = sum_ij alpha_kij relu(G_kij)
        alpha_kij = G_kij^2 / (2 G_kij^2 + G_kij^3 sum_ab A_kab), 0 where G_kij is 0

    Chattopadhay et al. 2018, 'Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks', alpha by equation 19: the paper's score is exp(y_c), whose derivatives are powers
    of G. Where the denominator vanishes it is kept finite by adding 1e-6, as pytorch-grad-cam does, whose maps
    these are; channels whose gradients are below 1e-3 are damped by it. The paper reads layers after a ReLU:
    where maps are signed, alpha may be negative or large.
    """
    return explain_at_cam_layer(model, pixels, choose, _shared_gradient)


def _shared_gradient(maps: Tensor, gradient: Tensor) -> Tensor:
    squared = gradient.square()
    shared = 2 * squared + squared * gradient * maps.sum(dim=(2, 3), keepdim=True)
    alpha = squared / (shared + 1e-6)
    weights = (alpha * gradient.clamp(min=0)).sum(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, maps)


CAMS = [
    Explainer(
        name=name,
        source=source,
        needs="a CAM layer",
        negatives=negatives,
        class_token="left out",
        looks_at_target=True,
        explain=explain,
        batch_size=256,
        revision=2,
    )
    for name, source, explain, negatives in [
        ("gradcam", "Selvaraju et al. 2017", gradcam, "drop"),
        # evidence against the class counts like evidence for it: the shares of `fertool train --guide-map signed`
        ("gradcam-size", "after Selvaraju et al. 2017", gradcam, "absolute"),
        ("hirescam", "Draelos and Carin 2020", hirescam, "drop"),
        ("gradcam-abs", "after Draelos and Carin 2020", gradcam_abs, "drop"),
        ("gradcam++", "Chattopadhay et al. 2018", gradcam_plus_plus, "drop"),
    ]
]
