"""A network that is taught by what it predicted of the same faces in earlier epochs, beside their labels."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.runtime.ranks import Ranks

KEPT = 0.6  # of the mean so far, an epoch (Laine and Aila 2017, section 3)


class EarlierPredictions:
    """A moving mean, over epochs, of what the network in training predicted of each face of train.

        Z <- 0.6 Z + 0.4 p        z = Z / (1 - 0.6^epochs)

    Laine and Aila 2017, 'Temporal Ensembling for Semi-Supervised Learning', section 2.2. Predictions p are those of
    the training steps themselves, with their augmentation and dropout, so they cost nothing.
    """

    def __init__(self, faces: int, classes: int, device: torch.device) -> None:
        self.sums = torch.zeros(faces, classes, device=device)
        self.epochs = 0
        self._of_this_epoch = torch.zeros_like(self.sums)

    def note(self, rows: Tensor, logits: Tensor) -> None:
        """Keep the predictions (n, C) of a step for these rows of train, (n,)."""
        self._of_this_epoch[rows] = logits.detach().softmax(dim=1)

    def end_epoch(self, ranks: Ranks) -> None:
        """Take what this epoch's steps predicted, those of all processes, into the mean."""
        self.sums.mul_(KEPT).add_(ranks.sum(self._of_this_epoch), alpha=1 - KEPT)
        self._of_this_epoch.zero_()
        self.epochs += 1

    def targets(self, targets: Tensor, share: float) -> Tensor:
        """What is to be learnt, (N, C): `targets`, labels (N,) or distributions (N, C), and a `share` of z.

        In the first epoch there is no z yet, and `targets` are all.
        """
        if targets.ndim == 1:
            targets = F.one_hot(targets, self.sums.shape[1]).to(self.sums.dtype)
        if not self.epochs:
            return targets
        return torch.lerp(targets, self.sums / (1 - KEPT**self.epochs), share)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, between epochs."""
        return {"sums": self.sums, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.sums.copy_(state["sums"])
        self.epochs = state["epochs"]


def earlier_share(largest: float, epoch: int, epochs: int) -> float:
    """The share of earlier predictions in an epoch's targets, a_t = a_T t / T; epochs are counted from 1.

    Kim et al. 2021, 'Self-Knowledge Distillation with Progressive Refinement of Targets': predictions are worth
    more the longer the network has learnt.
    """
    return largest * epoch / epochs
