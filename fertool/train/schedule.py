"""How the learning rate goes through a training."""

import math
from collections.abc import Sequence

SCHEDULES = ("constant", "cosine", "one-cycle", "plateau")
ONE_CYCLE_RISE = 0.3  # of all steps (Smith and Topin 2018, shares as PyTorch's OneCycleLR has them)
ONE_CYCLE_START = 1 / 25
PLATEAU_EPOCHS = 3  # without a better val loss
PLATEAU_FACTOR = 0.3


def rate_factor(
    schedule: str, step: int, steps: int, warmup_steps: int, val_losses: Sequence[float]
) -> float:
    """What the learning rate is multiplied by at `step`, 0 to `steps` - 1.

    Any schedule but one-cycle, which has its own, first rises in a line over `warmup_steps`. `plateau` falls
    after each PLATEAU_EPOCHS epochs whose `val_losses` were not below all before.
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
