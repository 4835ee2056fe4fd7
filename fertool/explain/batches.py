"""How faces go through an explainer: a batch at a time."""

import numpy as np
import torch

from fertool.explain.explainer import ChooseClasses, Explanation
from fertool.explain.registry import Request
from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute

WHOLE_BATCH_SIDE = 112  # pixels: networks of larger pictures take fewer faces at a time, for the memory


def batches(model: FaceClassifier, request: Request, faces: int, *, done: int = 0) -> list[slice]:
    """The rows of each batch of so many faces, without the first `done`."""
    smaller = min(1, WHOLE_BATCH_SIDE / model.input_spec.size) ** 2
    size = max(1, round(request.explainer.batch_size * smaller))
    return [slice(start, start + size) for start in range(done, faces, size)]


def explain_rows(
    model: FaceClassifier,
    request: Request,
    faces: np.ndarray,
    boxes: np.ndarray | None,
    rows: slice,
    choose: ChooseClasses,
    compute: Compute,
) -> Explanation:
    """The explanation of one batch of faces, uint8 (N, H, W) or (N, H, W, 3), by the request's explainer.

    `boxes` (N, 4) are where the faces lie, for a model that asks. Of a null it is the explainer's that the null
    stands beside.
    """
    pixels = torch.from_numpy(np.array(faces[rows])).to(compute.device)
    of_rows = None if boxes is None else torch.from_numpy(boxes[rows])
    with model.looking_at(of_rows), compute.autocast():
        return request.explainer.explain(model, pixels, choose, **request.options)
