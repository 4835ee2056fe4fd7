"""The moving mean of a network's weights, often better than the last of them."""

import copy
from typing import Any

import torch
from torch import nn

from fertool.models import FaceClassifier


class MovingMean:
    """An exponential moving mean of weights and batch statistics, over optimizer steps.

        mean <- d mean + (1 - d) weights        d = min(decay, (1 + step) / (10 + step))

    Tarvainen and Valpola 2017, 'Mean teachers are better role models', section 2; the smaller d at the start is
    that of TensorFlow's ExponentialMovingAverage, so that random weights are soon forgotten.
    """

    def __init__(self, model: FaceClassifier, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.step = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's weights after a step."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        own, new = _tensors(self.model.network), _tensors(network)
        reals = [number for number, value in enumerate(own) if value.is_floating_point()]
        torch._foreach_lerp_([own[number] for number in reals], [new[number] for number in reals], 1 - decay)
        for mean, value in zip(own, new, strict=True):
            if not mean.is_floating_point():  # counts, as of batches seen
                mean.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"network": self.model.network.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.model.network.load_state_dict(state["network"])
        self.step = state["step"]


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    # not of the state dict: that has what a network holds under two names twice
    return [*network.parameters(), *network.buffers()]
