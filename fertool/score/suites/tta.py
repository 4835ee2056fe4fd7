"""Test-time augmentation: a face is classified by the mean of what the network says of several views of it."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.models.predict import face_batches
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import Subject

CROP = 7 / 8  # of the picture's side, as 224 of 256 pixels in Krizhevsky et al. 2012, section 4.1

View = tuple[Tensor, Tensor | None]
"""Pictures (B, h, w[, 3]) of any size, and the boxes (B, 4) of their faces where the model asks."""


def mirrored(pixels: Tensor, boxes: Tensor | None) -> View:
    """The pictures and boxes, left and right exchanged."""
    if boxes is not None:
        width = pixels.shape[2]
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    return pixels.flip(2), boxes


def _flip(pixels: Tensor, boxes: Tensor | None) -> Iterator[View]:
    yield pixels, boxes
    yield mirrored(pixels, boxes)


def _ten_crops(pixels: Tensor, boxes: Tensor | None) -> Iterator[View]:
    height, width = pixels.shape[1:3]
    down, across = round(CROP * height), round(CROP * width)
    corners = [(top, left) for top in (0, height - down) for left in (0, width - across)]
    for top, left in [*corners, ((height - down) // 2, (width - across) // 2)]:
        crop = pixels[:, top : top + down, left : left + across]
        moved = None if boxes is None else boxes - torch.tensor([left, top, left, top])
        yield from _flip(crop, moved)


VIEWS: dict[str, Callable[[Tensor, Tensor | None], Iterator[View]]] = {"flip": _flip, "tencrop": _ten_crops}


def check_tta(name: str | None) -> None:
    """Raise UserError where there is no test-time augmentation of that name; None is none."""
    if name is not None and name not in VIEWS:
        raise UserError(f"--tta {name}: there are {', '.join(VIEWS)}")


def tta_logits(subject: Subject, name: str) -> np.ndarray:
    """Logs of the probabilities' mean over the views, float32 (N, C), kept as a run's other predictions are.

    `flip` are the face and its mirror image; `tencrop` five crops, of the corners and the middle, and theirs.
    """
    return subject.stored_logits(lambda: _predict(subject, name), tta=name)


@torch.inference_mode()
def _predict(subject: Subject, name: str) -> np.ndarray:
    logits = []
    with progress_bar(f"{subject.run.name}: {name}", len(subject.faces), "faces") as bar:
        for pixels, boxes in face_batches(subject.faces, subject.boxes):
            chances = []
            for view, of_view in VIEWS[name](pixels, boxes):
                with subject.model.looking_at(of_view), subject.compute.autocast():
                    chances.append(subject.model(view.to(subject.compute.device)).float().softmax(dim=1))
            logits.append(torch.stack(chances).mean(dim=0).clamp(min=1e-30).log().cpu().numpy())
            bar.update(len(pixels))
    return np.concatenate(logits)
