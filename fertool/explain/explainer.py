"""What an explainer is, and what it has to declare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from fertool.models.classifier import FaceClassifier

ChooseClasses = Callable[[Tensor], Tensor]
"""Logits (B, C) -> the classes to explain of each face, int64 (B, K): one forward pass serves them all."""

Needs = Literal["a CAM layer", "a convolutional network", "attention blocks", "nothing"]
Option = float | int | str | None


@dataclass(frozen=True)
class Explanation:
    """What one pass over a batch gives."""

    heatmaps: Tensor  # float32 (B, K, h, w): raw, signed, on the explainer's own grid
    logits: Tensor  # float32 (B, C), from the same forward pass
    branch_shares: Tensor | None = (
        None  # float32 (B, K, views): of the mass, where the model has several views
    )


class ExplainBatch(Protocol):
    """From faces as stored, (B, H, W) or (B, H, W, 3), to raw heatmaps of the chosen classes."""

    def __call__(
        self, model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, **options: Option
    ) -> Explanation:
        """Explain a batch; a map depends on its own face alone."""


@dataclass(frozen=True)
class Explainer:
    """A way to make heatmaps, and the rules by which they are read."""

    name: str
    source: str  # the paper
    needs: Needs
    negatives: Literal["drop", "absolute"]  # what a score makes of negative cells, on the map's own grid
    class_token: str  # what becomes of it in a transformer
    looks_at_target: bool  # False: the same map whatever the class
    explain: ExplainBatch
    options: Mapping[str, Option] = field(default_factory=dict)  # their defaults
    batch_size: int = 64  # faces at a time, where the network's pictures are small
    revision: int = 1  # raised when the same model and faces would give other maps

    def can_explain(self, family: str, attention_blocks: int) -> bool:
        """Whether it can explain a model of that family with that many attention blocks."""
        if self.needs == "a convolutional network":
            return family == "cnn"
        return attention_blocks > 0 if self.needs == "attention blocks" else True


def rectify(heatmaps: np.ndarray, negatives: str) -> np.ndarray:
    """Maps without negative cells: `drop` sets those to zero, `absolute` takes their size."""
    return np.abs(heatmaps) if negatives == "absolute" else np.maximum(heatmaps, 0)
