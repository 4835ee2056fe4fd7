"""The learning rate in the course of a training."""

import math
from collections.abc import Sequence

SCHEDULES = ("constant", "cosine", "one-cycle", "plateau")
ONE_CYCLE_RISE = (
    0.3  # share of the steps in which the rate rises (Smith and Topin 2018; values of torch's OneCycleLR)
)
ONE_CYCLE_START = 1 / 25
PLATEAU_EPOCHS = 3  # without a better val loss
PLATEAU_FACTOR = 0.3


def rate_factor(
    schedule: str, step: int, steps: int, warmup_steps: int, val_losses: Sequence[float]
) -> float:
    """The factor by which the peak learning rate is multiplied at a step.

    Args:
        schedule: one of SCHEDULES. `plateau` falls by PLATEAU_FACTOR after each PLATEAU_EPOCHS epochs whose val loss
            was not below that of every epoch before.
        step: 0 to `steps` - 1.
        steps: of the whole training.
        warmup_steps: steps in which the rate rises linearly from 0; `one-cycle` has a warm-up of its own instead.
        val_losses: one for each finished epoch.
    """
    if schedule == "one-cycle":
        peak = max(1, round(ONE_CYCLE_RISE * steps))
        if step < peak:
            return _between(ONE_CYCLE_START, 1.0, step / peak)
        return _between(1.0, 0.0, (step - peak) / max(1, steps - peak))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "cosine":
        return _between(1.0, 0.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    if schedule == "plateau":
        return PLATEAU_FACTOR ** _plateaus(val_losses)
    return 1.0


def _between(start: float, end: float, way: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * way)) / 2


def _plateaus(val_losses: Sequence[float]) -> int:
    plateaus, best, waited = 0, math.inf, 0
    for loss in val_losses:
        if loss < best:
            best, waited = loss, 0
        else:
            waited += 1
        if waited == PLATEAU_EPOCHS:
            plateaus, waited = plateaus + 1, 0
    return plateaus
