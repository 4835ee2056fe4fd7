"""Changing the statistics with which a model normalises its input."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier


def set_statistics(
    model: FaceClassifier, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> None:
    """Normalise by these, one number a channel, of pixels scaled to 0..1; None keeps the present ones.

    Raises UserError where there are not as many numbers as channels, and for a deviation that is not above 0.
    """
    spec = model.input_spec
    for option, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != spec.channels:
            raise UserError(
                f"--{option}: {len(values)} numbers for {spec.channels} channels; give one for each channel"
            )
    if std is not None and not min(std) > 0:
        raise UserError(f"--std {','.join(map(str, std))}: must be above 0")
    spec = replace(
        spec,
        mean=spec.mean if mean is None else tuple(mean),
        std=spec.std if std is None else tuple(std),
    )
    model.input_spec = spec
    for buffer, values in ((model.mean, spec.mean), (model.std, spec.std)):
        buffer.copy_(torch.tensor(values).view(1, -1, 1, 1))
