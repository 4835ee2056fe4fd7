"""Faces on their way through an explainer, a batch at a time."""

import numpy as np
import torch
from torch import Tensor

from fertool.explain.explainer import ChooseClasses, Explanation
from fertool.explain.registry import Request
from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute
from fertool.workspace import Run

WHOLE_BATCH_SIDE = 112  # pixels: networks with larger inputs take fewer faces at a time, for the memory


def batches(
    model: FaceClassifier, request: Request, compute: Compute, faces: int, *, done: int = 0
) -> list[slice]:
    """The rows of each batch of so many faces, without the first `done`."""
    size = compute.batch_size(_batch_size(request, model.input_spec.size))
    return [slice(start, start + size) for start in range(done, faces, size)]


def _batch_size(request: Request, input_side: int) -> int:
    smaller = min(1, WHOLE_BATCH_SIDE / input_side) ** 2
    return max(1, round(request.explainer.batch_size * smaller))


def was_face_left_alone(run: Run, request: Request, faces: int) -> bool:
    """Whether the last batch of so many faces held only one when a CPU took as many at once as a GPU."""
    size = _batch_size(request, run.config().get("image_size", WHOLE_BATCH_SIDE))
    return faces % size == 1 or size == 1


def explain_rows(
    model: FaceClassifier,
    request: Request,
    faces: np.ndarray,
    boxes: np.ndarray | None,
    rows: slice,
    choose: ChooseClasses,
    compute: Compute,
) -> Explanation:
    """The explanation of one batch of faces by the request's explainer; for a null, by the one that it stands beside.

    Args:
        model: the model.
        request: the explainer with its options.
        faces: faces as stored, uint8 (N, H, W) or (N, H, W, 3).
        boxes: boxes of the faces in pixels, (N, 4), for a model that asks for them.
        rows: the batch.
        choose: logits (B, C) -> classes to explain (B, K).
        compute: device and number format.

    Returns:
        heatmaps (B, K, h, w) and logits (B, C), float32.
    """
    pixels = torch.from_numpy(np.array(faces[rows])).to(compute.device)
    row_boxes = None if boxes is None else torch.from_numpy(boxes[rows])
    with model.looking_at(row_boxes), compute.autocast():
        return explain_together(model, request, pixels, choose)


def explain_together(
    model: FaceClassifier, request: Request, pixels: Tensor, choose: ChooseClasses
) -> Explanation:
    """The explanation of faces (B, H, W[, 3]), which never go through the network as a batch of one.

    PyTorch (2.14, CPU) computes the gradient of an evaluated BatchNorm2d wrongly for a batch of one whose input and
    incoming gradient have different memory formats. A face alone is repeated, and its repetition dropped afterwards.
    """
    explain = request.explainer.explain
    if len(pixels) != 1:
        return explain(model, pixels, choose, **request.options)
    # boxes need not be repeated: a batch may hold the same faces several times over, see `looking_at`
    twice = explain(
        model,
        pixels.repeat_interleave(2, dim=0),
        lambda logits: choose(logits[:1]).expand(2, -1),
        **request.options,
    )
    shares = twice.branch_shares
    return Explanation(twice.heatmaps[:1], twice.logits[:1], None if shares is None else shares[:1])
