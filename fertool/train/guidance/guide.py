"""What the training loop asks of guidance: a batch's targets, its loss, and how the maps lie on val."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.models import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.models.predict import Faces, face_batches
from fertool.runtime.hardware import Compute
from fertool.train.augment import Augmentation, Draws, mix, move_planes
from fertool.train.guidance.forms import FORMS, MapOnFace, background_shares, regions
from fertool.train.guidance.maps import (
    Watch,
    check_guidance,
    find_linear_head,
    guide_map,
    watched,
)
from fertool.train.guidance.planes import GuidePlanes, plane_reader, region_planes

TAKE_SIGNED_MAPS = ("background-sum", "action-units", "landmarks")
"""The forms that a signed map is judged by as it is. The others are of shares, which only its size has."""


@dataclass(frozen=True)
class GuideTarget:
    """Where the maps of a batch are to lie."""

    planes: Tensor  # float32 (B, P, H, W): of regions, then void, augmented as the faces are
    wanted: Tensor | None  # float32 (B, H, W), likewise
    class_weights: Tensor  # float32 (B, C): of which logits the maps are
    guided: Tensor  # bool (B,): of a mix where both its faces are
    divisor: (
        Tensor  # float32 (): what the losses' sum is divided by, the guided faces where this is all the batch
    )


class Guide:
    """A training's guidance: the form that is asked for, of which map, how strongly from when on.

    A step is

        target = guide.target(rows, draws)
        with guide.watching(model) as watch:
            logits = network(pixels)
        loss, sums = guide.loss(watch, logits.float(), target)

    and `weight_at` times that loss is added to the class loss. Sums are those of `guide_figures`.
    """

    def __init__(
        self,
        model: FaceClassifier,
        planes: GuidePlanes,
        labels: Tensor,
        augmentation: Augmentation,
        *,
        form: str = "background",
        kind: str | None = None,
        explainer: str | None = None,
        weight: float = 1.0,
        warmup_epochs: float = 0.0,
        wanted_shares: Mapping[str, float] | None = None,
    ) -> None:
        """`planes` and `labels`, int64 (N,) on the training's device, are of the faces that are trained on.

        None is the model's own default of explainer and kind of map. `wanted_shares` are those of the form
        `regions`. Raises UserError where the model cannot be guided so.
        """
        self.explainer, self.kind = check_guidance(model, explainer, kind)
        self.linear_head = find_linear_head(model) if self.explainer == "gradcam" else None
        self.form = form
        self.weight = weight
        self.warmup_epochs = warmup_epochs
        self._judge = regions(wanted_shares) if form == "regions" else FORMS[form]
        self._void = region_planes(form)  # the plane behind them
        self._planes_of = plane_reader(planes, labels.device, self._void)
        self._guided = torch.from_numpy(planes.guided).to(labels.device)
        self._labels = labels
        self._classes = model.recipe["classes"]
        self._augmentation = augmentation

    def weight_at(self, epochs_done: float) -> float:
        """The loss's weight after so many epochs, parts of one too: it rises linearly from 0 in the warm-up."""
        if epochs_done >= self.warmup_epochs:
            return self.weight
        return self.weight * epochs_done / self.warmup_epochs

    def target(self, rows: Tensor, draws: Draws, batch: Tensor | None = None) -> GuideTarget:
        """The targets of faces `rows` int64 (B,), augmented by `draws`, which are of all faces.

        `batch` is all of a batch that several processes share: losses then average over its guided faces.
        """
        planes, class_weights = self._moved_planes(rows, draws), self._of_labels(rows)
        if self._augmentation.mixup:
            of_rows = draws[rows]
            planes = mix(planes, self._moved_planes(of_rows.partners, draws), of_rows)
            class_weights = mix(class_weights, self._of_labels(of_rows.partners), of_rows)
        guided = self._guided_rows(rows, draws)
        divisor = guided.sum().float()
        if batch is not None and len(batch) != len(rows):
            divisor = self._guided_rows(batch, draws).sum() * (len(rows) / len(batch))
        wanted = planes[:, -1] if planes.shape[1] > self._void + 1 else None
        return GuideTarget(planes[:, : self._void + 1], wanted, class_weights, guided, divisor)

    def watching(self, model: FaceClassifier) -> AbstractContextManager[Watch]:
        """Inside, a forward pass of the model leaves what `loss` makes the map of."""
        return watched(model, self.explainer, self.linear_head)

    def loss(
        self, watch: Watch, logits: Tensor, target: GuideTarget, *, differentiable: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The mean loss of the guided faces, a scalar, and the sums (4,) of `guide_figures`, without a graph.

        0 where no face is guided; without a graph there, and where it is not to be `differentiable`.
        """
        if not bool(target.guided.any()):
            return logits.new_zeros(()), logits.new_zeros(4)
        with torch.autocast(logits.device.type, enabled=False), torch.set_grad_enabled(differentiable):
            heatmap = guide_map(watch, logits, target.class_weights, self.kind, differentiable=differentiable)
            absolute = heatmap.abs() if self.kind == "signed" else heatmap
            laid = judged = MapOnFace(absolute, target.planes, target.wanted)
            if self.kind == "signed" and self.form in TAKE_SIGNED_MAPS:
                judged = replace(laid, cells=heatmap)
            losses = self._judge(judged).where(target.guided, 0)
            loss = losses.sum() / target.divisor
        return loss, _sums(losses.detach(), laid, target.guided)

    def measure(
        self, model: FaceClassifier, faces: Faces, labels: np.ndarray, planes: GuidePlanes, compute: Compute
    ) -> tuple[np.ndarray, Tensor]:
        """How the maps of the labels lie on faces as they are: logits float32 (N, C), and sums, without a loss.

        In evaluation mode; no graph is built but, where a map needs one, behind the CAM layer. `planes` are the
        true ones of any form, `labels` int64 (N,).
        """
        background_and_rest = region_planes("background")
        planes_of = plane_reader(planes, compute.device, background_and_rest)
        guided = torch.from_numpy(planes.guided).to(compute.device)
        codes = torch.from_numpy(labels).to(compute.device)
        sums, all_logits, start = torch.zeros(4, device=compute.device), [], 0
        needs_gradient = self.explainer == "gradcam" and self.linear_head is None
        with frozen_eval(model), self.watching(model) as watch:
            for pixels, _ in face_batches(faces):
                rows = torch.arange(start, start + len(pixels), device=compute.device)
                start += len(pixels)
                with torch.no_grad(), compute.autocast():
                    inputs = model.preprocess(pixels.to(compute.device))
                with torch.set_grad_enabled(needs_gradient), compute.autocast():
                    logits = model.logits(inputs).float()
                weights = F.one_hot(codes[rows], logits.shape[1]).float()
                heatmap = guide_map(watch, logits, weights, self.kind, differentiable=False)
                absolute = heatmap.abs() if self.kind == "signed" else heatmap
                laid = MapOnFace(absolute, planes_of(rows)[:, : background_and_rest + 1])
                sums += _sums(torch.zeros_like(heatmap[:, 0, 0]), laid, guided[rows])
                all_logits.append(logits.detach().cpu())
        return torch.cat(all_logits).numpy(), sums

    def _moved_planes(self, rows: Tensor, draws: Draws) -> Tensor:
        return move_planes(self._planes_of(rows), draws[rows], self._augmentation, self._void)

    def _of_labels(self, rows: Tensor) -> Tensor:
        return F.one_hot(self._labels[rows], self._classes).float()

    def _guided_rows(self, rows: Tensor, draws: Draws) -> Tensor:
        guided = self._guided[rows]
        return guided & self._guided[draws.partners[rows]] if self._augmentation.mixup else guided


def _sums(losses: Tensor, laid: MapOnFace, guided: Tensor) -> Tensor:
    with torch.no_grad():
        shares, is_empty = background_shares(laid)
        counts = guided.to(shares.dtype)
        return torch.stack([losses.sum(), (is_empty * counts).sum(), (shares * counts).sum(), counts.sum()])


def guide_figures(sums: Tensor) -> dict[str, float | None]:
    """The figures of sums (4,) of losses, empty maps, background shares and faces over all guided faces.

    `guide_loss` and `empty_maps` are means over them, `background_share` over those whose map is not empty; None
    where there are none.
    """
    loss, is_empty, share, guided = sums.tolist()
    return {
        "guide_loss": loss / guided if guided else None,
        "empty_maps": is_empty / guided if guided else None,
        "background_share": share / (guided - is_empty) if guided > is_empty else None,
    }
