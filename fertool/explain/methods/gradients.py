"""Explanations from gradients by the face's pixels: input gradient, SmoothGrad, Integrated Gradients.

Maps are float32 (B, classes, H, W) at the faces' own resolution, in logits a grey level (of 255), or, for
Integrated Gradients, in logits; signed, added up over colours. Gradients go through the preprocessing, so
models of any input size are explained on the same pixels. When scored, cells count by their size: a pixel
may speak for a class by being dark. A transformer's class token needs no rule, for pixels are read.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.explainer import ChooseClasses, ExplainBatch, Explainer, Explanation, Option
from fertool.explain.methods.cams import class_gradients
from fertool.explain.pixels import add_colours, as_leaf
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval

MID_GREY = 127.5
SMOOTHING_SEED = 0


def input_gradient(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """The gradient of the class's logit by the pixels, dy_c / dx.

    Simonyan, Vedaldi and Zisserman 2014, 'Deep Inside Convolutional Networks', section 3 (there its size,
    the largest over colours).
    """
    with frozen_eval(model), torch.enable_grad():
        leaf = as_leaf(pixels, model.device)
        logits = model(leaf)
        gradients = class_gradients(logits, choose(logits.detach()), leaf)
    heatmaps = torch.stack([add_colours(gradient) for gradient in gradients], dim=1)
    return Explanation(heatmaps=heatmaps, logits=logits.detach().float())


def smoothgrad(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, samples: int = 16, noise: float = 0.15
) -> Explanation:
    """The mean gradient over noisy copies of the face.

        1/n sum_n dy_c/dx (x + e_n)        e_n ~ Normal(0, (noise * 255)^2)

    Smilkov et al. 2017, 'SmoothGrad: removing noise by adding noise', section 2. Every face meets the same noise
    patterns, drawn from a fixed seed, so that its map does not depend on its batch. The class is chosen on the face
    without noise.

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain, int64 (B, K).
        samples: number n of noisy copies, 1 or more. Default: 16.
        noise: deviation of the noise, as a share of the range of grey levels (0.1 to 0.2 in the paper). Default: 0.15.

    Returns:
        heatmaps float32 (B, K, H, W) and logits.

    Raises:
        UserError: `samples` is less than 1.
    """
    _at_least_one("smoothgrad@samples", samples)
    logits, classes = _logits_and_classes(model, pixels, choose)
    generator = torch.Generator().manual_seed(SMOOTHING_SEED)
    total = _no_gradients(pixels, classes)
    for _ in range(samples):
        pattern = torch.randn(pixels.shape[1:], generator=generator).to(model.device) * (noise * 255)
        total += _gradients_at(model, pixels.to(model.device).float() + pattern, classes)
    return Explanation(heatmaps=total / samples, logits=logits)


def integrated_gradients(
    model: FaceClassifier,
    pixels: Tensor,
    choose: ChooseClasses,
    steps: int = 32,
    baseline: float = MID_GREY,
) -> Explanation:
    """Gradients along the straight path from a baseline to the face, times the path's length in each pixel.

        (x - b) * integral_0^1 dy_c/dx (b + t (x - b)) dt

    Sundararajan, Taly and Yan 2017, 'Axiomatic Attribution for Deep Networks', equation 1, by Gauss-Legendre
    quadrature. The map adds up to y_c(x) - y_c(b).

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain, int64 (B, K).
        steps: number of points of the quadrature, 1 or more. Default: 32.
        baseline: grey level b of the baseline. Default: 127.5, mid-grey.

    Returns:
        heatmaps float32 (B, K, H, W) and logits.

    Raises:
        UserError: `steps` is less than 1.
    """
    _at_least_one("integrated-gradients@steps", steps)
    logits, classes = _logits_and_classes(model, pixels, choose)
    points, weights = np.polynomial.legendre.leggauss(steps)
    way = pixels.to(model.device).float() - baseline
    total = _no_gradients(pixels, classes)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += _gradients_at(model, baseline + float(point) * way, classes, times=way) * float(weight)
    return Explanation(heatmaps=total, logits=logits)


def _logits_and_classes(
    model: FaceClassifier, pixels: Tensor, choose: ChooseClasses
) -> tuple[Tensor, Tensor]:
    with frozen_eval(model), torch.no_grad():
        logits = model(pixels).float()
        return logits, choose(logits)


def _no_gradients(pixels: Tensor, classes: Tensor) -> Tensor:
    """Zeros (B, classes, H, W) to add gradients to."""
    return torch.zeros(*classes.shape, *pixels.shape[1:3], device=classes.device)


def _gradients_at(
    model: FaceClassifier, pixels: Tensor, classes: Tensor, times: Tensor | None = None
) -> Tensor:
    """Gradients (B, classes, H, W) at float pixels, added up over colours, each first multiplied by `times`."""
    with frozen_eval(model), torch.enable_grad():
        leaf = as_leaf(pixels, model.device)
        gradients = class_gradients(model(leaf), classes, leaf)
    return torch.stack(
        [add_colours(gradient if times is None else gradient * times) for gradient in gradients], dim=1
    )


def _at_least_one(option: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{option}={value}: must be 1 or more")


def _pixel_explainer(
    name: str, source: str, explain: ExplainBatch, options: Mapping[str, Option]
) -> Explainer:
    return Explainer(
        name=name,
        source=source,
        needs="nothing",
        negatives="absolute",
        class_token="pixels are read",
        looks_at_target=True,
        explain=explain,
        options=options,
    )


GRADIENTS = [
    _pixel_explainer("input-gradient", "Simonyan et al. 2014", input_gradient, {}),
    _pixel_explainer("smoothgrad", "Smilkov et al. 2017", smoothgrad, {"samples": 16, "noise": 0.15}),
    _pixel_explainer(
        "integrated-gradients",
        "Sundararajan et al. 2017",
        integrated_gradients,
        {"steps": 32, "baseline": MID_GREY},
    ),
]
