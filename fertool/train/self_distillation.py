"""Self-distillation: targets that mix the labels with the network's own predictions of earlier epochs."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.runtime.ranks import Ranks

KEPT = 0.6  # share of the average that an epoch keeps (Laine and Aila 2017, section 3)


class EarlierPredictions:
    """The moving average over epochs of what the network predicted for each face of train while it trained.

        Z <- 0.6 Z + 0.4 p        z = Z / (1 - 0.6^epochs)

    Laine and Aila 2017, 'Temporal Ensembling for Semi-Supervised Learning', section 2.2. The predictions p
    are those of the training steps, with augmentation and dropout, so they cost nothing.
    """

    def __init__(self, faces: int, classes: int, device: torch.device) -> None:
        self.sums = torch.zeros(faces, classes, device=device)
        self.epochs = 0
        self._this_epoch = torch.zeros_like(self.sums)

    def note(self, rows: Tensor, logits: Tensor) -> None:
        """Keep the predictions (n, C) of a step for these rows of train, (n,)."""
        self._this_epoch[rows] = logits.detach().softmax(dim=1)

    def end_epoch(self, ranks: Ranks) -> None:
        """Add the predictions of this epoch's steps, in all processes, to the average."""
        self.sums.mul_(KEPT).add_(ranks.sum(self._this_epoch), alpha=1 - KEPT)
        self._this_epoch.zero_()
        self.epochs += 1

    def targets(self, targets: Tensor, share: float) -> Tensor:
        """The targets to be learnt, (N, C): (1 - share) `targets` + share z; `targets` alone in the first epoch.

        `targets` are labels (N,) or distributions (N, C).
        """
        if targets.ndim == 1:
            targets = F.one_hot(targets, self.sums.shape[1]).to(self.sums.dtype)
        if not self.epochs:
            return targets
        return torch.lerp(targets, self.sums / (1 - KEPT**self.epochs), share)

    def state_dict(self) -> dict[str, Any]:
        """The average and its number of epochs, for `load_state_dict`; to be called between epochs."""
        return {"sums": self.sums, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.sums.copy_(state["sums"])
        self.epochs = state["epochs"]


def earlier_share(largest: float, epoch: int, epochs: int) -> float:
    """The share of earlier predictions in the targets of an epoch, counted from 1: a_t = a_T t / T.

    Kim et al. 2021, 'Self-Knowledge Distillation with Progressive Refinement of Targets': predictions get better the
    longer the network has learnt.
    """
    return largest * epoch / epochs
