"""Guidance as the training loop uses it: a batch's targets, its loss, and the figures of the maps on val."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.models import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.models.predict import GPU_BATCH_SIZE, Faces, face_batches
from fertool.runtime.hardware import Compute
from fertool.train.augment import Augmentation, Draws, mix, move_masks
from fertool.train.guidance.forms import FORMS, MapOnFace, background_shares, regions
from fertool.train.guidance.maps import (
    Watch,
    check_guidance,
    find_linear_head,
    guide_map,
    watched,
)
from fertool.train.guidance.masks import GuideMasks, mask_count, mask_reader

TAKE_SIGNED_MAPS = ("background-sum", "action-units", "landmarks")
"""The forms that judge a signed map as it is. The others judge shares, which are those of its absolute values."""


@dataclass(frozen=True)
class GuideTarget:
    """Where the maps of a batch are to lie.

    Attributes:
        masks: float32 (B, M, H, W): those of the regions, then void, augmented as the faces are.
        wanted: float32 (B, H, W), augmented likewise; None for forms that want no map.
        class_weights: float32 (B, C): the map explains the sum of the logits, each by its weight.
        guided: bool (B,): a mix is guided where both its faces are.
        divisor: float32 (): what the sum of losses is divided by, the number of guided faces where the batch is whole.
    """

    masks: Tensor
    wanted: Tensor | None
    class_weights: Tensor
    guided: Tensor
    divisor: Tensor


class Guide:
    """A training's guidance: a form of loss, the map it is taken of, and its weight lambda.

    A step is

        target = guide.target(rows, draws)
        with guide.watching(model) as watch:
            logits = network(pixels)
        loss, sums = guide.loss(watch, logits.float(), target)

    and `weight_at` times that loss is added to the classification loss. `sums` are summed over steps, and
    `guide_figures` makes figures of them.
    """

    def __init__(
        self,
        model: FaceClassifier,
        masks: GuideMasks,
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
        """Guide a model's maps.

        Args:
            model: the network that is trained.
            masks: of the N faces that are trained on.
            labels: theirs, int64 (N,), on the training's device.
            augmentation: what happens to the faces.
            form: one of FORMS.
            kind: relu, abs or signed; None: the explainer's default.
            explainer: one of GUIDE_EXPLAINERS; None: the default for the model.
            weight: lambda.
            warmup_epochs: epochs in which lambda rises linearly from 0.
            wanted_shares: region -> weight, for the form `regions`.

        Raises:
            UserError: the model cannot be guided so.
        """
        self.explainer, self.kind = check_guidance(model, explainer, kind)
        self.linear_head = find_linear_head(model) if self.explainer == "gradcam" else None
        self.form = form
        self.weight = weight
        self.warmup_epochs = warmup_epochs
        self._judge = regions(wanted_shares) if form == "regions" else FORMS[form]
        self._void = mask_count(form)  # the number of the mask behind them
        self._masks_of = mask_reader(masks, labels.device, self._void)
        self._guided = torch.from_numpy(masks.guided).to(labels.device)
        self._labels = labels
        self._classes = model.recipe["classes"]
        self._augmentation = augmentation

    def weight_at(self, epochs_done: float) -> float:
        """Lambda after so many epochs, fractions included: it rises linearly from 0 in the warm-up."""
        if epochs_done >= self.warmup_epochs:
            return self.weight
        return self.weight * epochs_done / self.warmup_epochs

    def target(self, rows: Tensor, draws: Draws, batch: Tensor | None = None) -> GuideTarget:
        """The targets of a batch.

        Args:
            rows: its faces, int64 (B,).
            draws: the random choices of all faces of train.
            batch: the rows of the whole batch where several processes share it; losses then average over all of its
                guided faces.
        """
        masks, class_weights = self._moved_masks(rows, draws), self._one_hot_labels(rows)
        if self._augmentation.mixup:
            row_draws = draws[rows]
            masks = mix(masks, self._moved_masks(row_draws.partners, draws), row_draws)
            class_weights = mix(class_weights, self._one_hot_labels(row_draws.partners), row_draws)
        guided = self._guided_rows(rows, draws)
        divisor = guided.sum().float()
        if batch is not None and len(batch) != len(rows):
            divisor = self._guided_rows(batch, draws).sum() * (len(rows) / len(batch))
        wanted = masks[:, -1] if masks.shape[1] > self._void + 1 else None
        return GuideTarget(masks[:, : self._void + 1], wanted, class_weights, guided, divisor)

    def watching(self, model: FaceClassifier) -> AbstractContextManager[Watch]:
        """Inside, a forward pass of the model keeps what `loss` needs to make the map."""
        return watched(model, self.explainer, self.linear_head)

    def loss(
        self, watch: Watch, logits: Tensor, target: GuideTarget, *, differentiable: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The mean loss of the guided faces, and the sums for `guide_figures`.

        Args:
            watch: what the forward pass left.
            logits: its logits, float32 (B, C).
            target: the batch's targets.
            differentiable: whether the loss has a graph.

        Returns:
            the loss, a scalar, 0 and without a graph where no face is guided; and sums (4,), without a graph.
        """
        if not bool(target.guided.any()):
            return logits.new_zeros(()), logits.new_zeros(4)
        with torch.autocast(logits.device.type, enabled=False), torch.set_grad_enabled(differentiable):
            heatmap = guide_map(watch, logits, target.class_weights, self.kind, differentiable=differentiable)
            absolute = heatmap.abs() if self.kind == "signed" else heatmap
            laid = judged = MapOnFace(absolute, target.masks, target.wanted)
            if self.kind == "signed" and self.form in TAKE_SIGNED_MAPS:
                judged = replace(laid, cells=heatmap)
            losses = self._judge(judged).where(target.guided, 0)
            loss = losses.sum() / target.divisor
        return loss, _sums(losses.detach(), laid, target.guided)

    def measure(
        self, model: FaceClassifier, faces: Faces, labels: np.ndarray, masks: GuideMasks, compute: Compute
    ) -> tuple[np.ndarray, Tensor]:
        """Measure the maps of the labels on faces as they are, in evaluation mode.

        A graph is built only where a map needs one, and then behind the CAM layer only.

        Args:
            model: the network.
            faces: uint8 (N, H, W[, 3]).
            labels: int64 (N,).
            masks: the faces' own, of any form.
            compute: device and number format.

        Returns:
            logits float32 (N, C), and the sums (4,) for `guide_figures`, whose loss is 0.
        """
        background_and_rest = mask_count("background")
        masks_of = mask_reader(masks, compute.device, background_and_rest)
        guided = torch.from_numpy(masks.guided).to(compute.device)
        codes = torch.from_numpy(labels).to(compute.device)
        sums, all_logits, start = torch.zeros(4, device=compute.device), [], 0
        needs_gradient = self.explainer == "gradcam" and self.linear_head is None
        with frozen_eval(model), self.watching(model) as watch:
            for pixels, _ in face_batches(faces, None, compute.batch_size(GPU_BATCH_SIZE)):
                rows = torch.arange(start, start + len(pixels), device=compute.device)
                start += len(pixels)
                if (
                    len(rows) == 1 and needs_gradient
                ):  # see `explain_together`: a batch of one meets no gradient
                    pixels, shown = pixels.repeat_interleave(2, dim=0), rows.repeat(2)
                else:
                    shown = rows
                with torch.no_grad(), compute.autocast():
                    inputs = model.preprocess(pixels.to(compute.device))
                with torch.set_grad_enabled(needs_gradient), compute.autocast():
                    logits = model.logits(inputs).float()
                weights = F.one_hot(codes[shown], logits.shape[1]).float()
                heatmap = guide_map(watch, logits, weights, self.kind, differentiable=False)[: len(rows)]
                absolute = heatmap.abs() if self.kind == "signed" else heatmap
                laid = MapOnFace(absolute, masks_of(rows)[:, : background_and_rest + 1])
                sums += _sums(torch.zeros_like(heatmap[:, 0, 0]), laid, guided[rows])
                all_logits.append(logits[: len(rows)].detach().cpu())
        return torch.cat(all_logits).numpy(), sums

    def _moved_masks(self, rows: Tensor, draws: Draws) -> Tensor:
        return move_masks(self._masks_of(rows), draws[rows], self._augmentation, self._void)

    def _one_hot_labels(self, rows: Tensor) -> Tensor:
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
    """Figures from sums (4,) over the guided faces: of losses, empty maps, background shares, and faces.

    `guide_loss` and `empty_maps` are means over the guided faces, `background_share` over those whose map is not empty;
    None where there are no such faces.
    """
    loss, is_empty, share, guided = sums.tolist()
    return {
        "guide_loss": loss / guided if guided else None,
        "empty_maps": is_empty / guided if guided else None,
        "background_share": share / (guided - is_empty) if guided > is_empty else None,
    }
