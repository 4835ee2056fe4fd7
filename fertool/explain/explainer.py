"""Explainers: their function and the rules that they declare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

ChooseClasses = Callable[[Tensor], Tensor]
"""Logits (B, C) -> the classes to explain of each face, int64 (B, K): one forward pass serves them all."""

Needs = Literal["a CAM layer", "a convolutional network", "attention blocks", "nothing"]
Negatives = Literal["drop", "absolute"]
Option = float | int | str | None

LAYER = "layer"  # the option, of every explainer that reads a CAM layer, that names another layer


@dataclass(frozen=True)
class Explanation:
    """The outcome of one pass over a batch.

    `heatmaps` are float32 (B, K, h, w): raw, signed, on the explainer's own grid. `logits` are float32 (B, C), from
    the same forward pass. `branch_shares` are each view's share of the map's mass, float32 (B, K, views), where the
    model has several views.
    """

    heatmaps: Tensor
    logits: Tensor
    branch_shares: Tensor | None = None


ExplainBatch = Callable[..., Explanation]
"""`(model, pixels, choose, **options)`: faces as stored, (B, H, W) or (B, H, W, 3), to raw heatmaps of the chosen
classes. The map of a face depends on this face alone."""


@dataclass(frozen=True)
class Explainer:
    """A way to make heatmaps, and the rules by which they are read.

    Args:
        name: name on the command line.
        source: the paper.
        needs: property that a model must have.
        negatives: treatment of negative cells in a score, on the map's own grid.
        class_token: treatment of a transformer's class token.
        looks_at_target: whether the map depends on the class; False: the same map for every class.
        explain: the function.
        options: options with their defaults.
        types: types of the options whose default is None.
        batch_size: faces at a time, for networks with small inputs.
        revision: raised when the same model and faces would give other maps; 0 where it is not known.
        makes_maps: whether it can make maps; False: they were made elsewhere and imported.
    """

    name: str
    source: str
    needs: Needs
    negatives: Negatives
    class_token: str
    looks_at_target: bool
    explain: ExplainBatch
    options: Mapping[str, Option] = field(default_factory=dict)
    types: Mapping[str, type] = field(default_factory=dict)
    batch_size: int = 64
    revision: int = 1
    makes_maps: bool = True

    @property
    def reads_cam_layer(self) -> bool:
        """Whether the map comes from the model's CAM layer."""
        return LAYER in self.options and self.options[LAYER] is None

    def can_explain(self, family: str, attention_blocks: int) -> bool:
        """Whether it can explain a model of that family with that many attention blocks."""
        if self.needs == "a convolutional network":
            return family == "cnn"
        return attention_blocks > 0 if self.needs == "attention blocks" else True


def rectify(heatmaps: np.ndarray, negatives: str) -> np.ndarray:
    """Maps without negative cells: `drop` sets negative cells to zero, `absolute` takes every cell's size."""
    return np.abs(heatmaps) if negatives == "absolute" else np.maximum(heatmaps, 0)
