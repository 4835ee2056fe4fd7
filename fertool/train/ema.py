"""The exponential moving average of a network's weights, which is often better than the last weights themselves."""

import copy
from typing import Any

import torch
from torch import nn

from fertool.models import FaceClassifier


class ExponentialMovingAverage:
    """An exponential moving average of weights and batch-norm statistics over optimizer steps.

        average <- d average + (1 - d) weights        d = min(decay, (1 + step) / (10 + step))

    Tarvainen and Valpola 2017, 'Mean teachers are better role models', section 2; the smaller d of the first steps
    is that of TensorFlow's ExponentialMovingAverage, so that random weights are soon forgotten.
    """

    def __init__(self, model: FaceClassifier, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.step = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the network's weights after an optimizer step to the average."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        own, new = _tensors(self.model.network), _tensors(network)
        reals = [number for number, value in enumerate(own) if value.is_floating_point()]
        torch._foreach_lerp_([own[number] for number in reals], [new[number] for number in reals], 1 - decay)
        for average, value in zip(own, new, strict=True):
            if not average.is_floating_point():  # counts, such as num_batches_tracked
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The average and its number of steps, for `load_state_dict`."""
        return {"network": self.model.network.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.model.network.load_state_dict(state["network"])
        self.step = state["step"]


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    # not those of the state dict, which lists a layer that is registered under two names twice
    return [*network.parameters(), *network.buffers()]
