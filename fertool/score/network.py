"""A run's network on pictures that no split holds: covered faces, pasted ones, faces half taken away."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from fertool.score.subject import Subject

Network = Callable[[Tensor], Tensor]
"""Pictures 0..255, (M, H, W) or (M, H, W, 3), M of any size -> logits float32 (M, C)."""

# A core's caches hold the activations of few pictures: `cnn` takes twice as long for each at 128 as at 32.
PICTURES_ON_CPU = 32
PICTURES_ON_GPU = 512


def network_of(subject: Subject) -> Network:
    """The run's best epoch as a plain function, in the subject's precision, in batches that suit the device."""
    at_once = PICTURES_ON_CPU if subject.compute.device.type == "cpu" else PICTURES_ON_GPU
    model = subject.model
    if model.family == "cnn":
        # as its inputs come: else each forward pass brings the weights there, which takes longer than the pass
        model = copy.deepcopy(model).to(memory_format=torch.channels_last)

    def network(pictures: Tensor) -> Tensor:
        with torch.inference_mode(), subject.compute.autocast():
            return torch.cat([model(some).float() for some in pictures.split(at_once)])

    return network
