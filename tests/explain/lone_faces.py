"""Whether a face has the same map alone as in a batch of eight, by every explainer that takes gradients."""

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.batches import explain_together
from fertool.explain.registry import EXPLAINERS, Request
from fertool.models import FaceClassifier, build_model

GRADIENT_EXPLAINERS = [
    "gradcam", "gradcam-size", "hirescam", "gradcam-abs", "gradcam++", "guided-backprop", "guided-gradcam",
    "attention-gradcam", "input-gradient",
]  # fmt: skip
MOST_APART = 1e-4  # of the map's largest cell


def lively(name: str, image_size: int | None) -> FaceClassifier:
    """A model in evaluation mode whose norms have statistics and scales, so that no branch is idle."""
    torch.manual_seed(0)
    model = build_model(name, 7, image_size=image_size).eval()
    generator = torch.Generator().manual_seed(1)

    def spread(values: Tensor, low: float, high: float) -> None:
        values.data.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)

    for module in model.network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            spread(module.running_mean, -0.2, 0.2)
            spread(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm) and module.weight is not None:
            spread(module.weight, 0.5, 1.5)
            spread(module.bias, -0.3, 0.3)
    return model


def distances(model: FaceClassifier, classes: int = 7) -> dict[str, float]:
    """The largest difference of a face's map alone and in a batch of eight, as a share of its largest cell.

    The maps are those of the first `classes`, one of which at least has one that is not empty.
    Explainers that refuse the model are left out.
    """
    faces = torch.randint(0, 256, (8, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def first(logits: Tensor) -> Tensor:
        return torch.arange(classes).expand(len(logits), -1)

    found = {}
    for name in GRADIENT_EXPLAINERS:
        explainer = EXPLAINERS[name]
        if not explainer.can_explain(model.family, len(model.attention_blocks)):
            continue
        try:
            together = explain_together(model, Request(explainer), faces, first).heatmaps[-1:]
            alone = explain_together(model, Request(explainer), faces[-1:], first).heatmaps
        except UserError:
            continue
        found[name] = float((alone - together).abs().max() / together.abs().max())
    return found
