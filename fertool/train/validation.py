"""Loss and accuracy on val after an epoch."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.models import FaceClassifier, predict_logits
from fertool.train.setup import TrainingSetup


class Validation(NamedTuple):
    """The figures of an epoch on val.

    `loss` is the mean cross-entropy, without smoothing; `accuracy` lies in 0..1; `guide_sums` are those of
    `guide_figures`, where the training is guided.
    """

    loss: float
    accuracy: float
    guide_sums: Tensor | None


def validate(model: FaceClassifier, features: Tensor | None, setup: TrainingSetup) -> Validation:
    """Loss and accuracy on val. `features` (N, ...) are what the head is given, where they were computed before."""
    split, ranks = setup.val_split, setup.ranks
    part = slice(ranks.rank, None, ranks.count)
    guide_sums = None
    if setup.guide and split.masks:
        measured, sums = setup.guide.measure(
            model, split.faces.part(part), split.labels[part], split.masks.part(part), setup.compute
        )
        logits, guide_sums = torch.from_numpy(measured), ranks.sum(sums)
    elif features is None:
        boxes = None if split.boxes is None else split.boxes[part]
        logits = torch.from_numpy(predict_logits(model, split.faces.part(part), setup.compute, boxes))
    else:
        model.eval()
        with torch.inference_mode(), setup.compute.autocast():
            logits = model.layer(model.head)(features).float().cpu()
    labels = torch.from_numpy(split.labels[part])
    losses = F.cross_entropy(logits.double(), labels, reduction="sum")
    loss, hits = ranks.sum(torch.stack([losses, (logits.argmax(dim=1) == labels).sum()])).tolist()
    return Validation(loss / len(split.labels), hits / len(split.labels), guide_sums)
