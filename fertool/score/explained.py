"""What the suites of explanations have in common: a run's maps beside the null ones, and the class they explain."""

import numpy as np
import torch

from fertool.errors import UserError
from fertool.explain.nulls import NULLS
from fertool.explain.registry import Request
from fertool.explain.targets import EVERY_CLASS, check_target, choose_classes
from fertool.score.subject import Subject


def maps_beside_nulls(subject: Subject, request: Request, target: str) -> dict[str, np.ndarray]:
    """Rectified maps (N, h, w) of an explainer, first, and of the null explanations, by name."""
    requests = {request.key: request} | {
        name: Request(request.explainer, null, request.options) for name, null in NULLS.items()
    }
    return {name: subject.heatmaps(of, target).rectified() for name, of in requests.items()}


def explained_classes(subject: Subject, target: str) -> np.ndarray:
    """The class that each face's map is asked about, int64 (N,). Raises UserError for `all`: one at a time."""
    check_target(target, subject.classes)
    if target == EVERY_CLASS:
        raise UserError(f"--target {target}: these figures are of one class; name it, or predicted, or label")
    choose = choose_classes(target, subject.classes, torch.from_numpy(subject.labels))
    return choose(torch.from_numpy(subject.logits))[:, 0].numpy()
