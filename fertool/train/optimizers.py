"""The optimizer of the parameters that train at present, each stage at its own learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fertool.models import FaceClassifier
from fertool.models.structure.stages import parameter_stages
from fertool.train.config import TrainConfig
from fertool.train.schedule import rate_factor

SGD_MOMENTUM = 0.9


def make_optimizer(model: FaceClassifier, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of the parameters that require a gradient; each group carries its peak rate as `peak_lr`.

    The head trains at `lr`; the backbone at `backbone_lr` where that is given. `layer_decay` d multiplies a
    stage's rate by d to the power of its distance from the head (Clark et al. 2020, 'ELECTRA', section 3.3.5).
    AdamW and SGD decay matrices and kernels, but no norms, no biases and no parameters that a timm network excepts
    (class tokens, position embeddings). Adam's weight decay is an L2 penalty on all parameters, as in PyTorch.
    """
    excepted = {
        f"{prefix}{name}"
        for prefix, network in model.branches()
        for name in getattr(network, "no_weight_decay", set)()
    }
    named = dict(model.network.named_parameters())
    stages = parameter_stages(model)
    groups: list[dict[str, Any]] = []
    for number, names in enumerate(stages):
        from_head = len(stages) - 1 - number
        peak_lr = config.lr if from_head == 0 or config.backbone_lr is None else config.backbone_lr
        peak_lr *= config.layer_decay**from_head
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name in names:
            parameter = named[name]
            decays = config.optimizer == "adam" or (parameter.ndim > 1 and name not in excepted)
            if parameter.requires_grad:
                (decayed if decays else plain).append(parameter)
        for parameters, weight_decay in ((decayed, config.weight_decay), (plain, 0.0)):
            if parameters:
                groups.append(
                    {"params": parameters, "peak_lr": peak_lr, "lr": peak_lr, "weight_decay": weight_decay}
                )
    groups = _merged(groups)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=SGD_MOMENTUM, nesterov=True, fused=True)


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of the same rate and decay made one, because a fused step costs time for each group."""
    merged: dict[tuple[float, float], dict[str, Any]] = {}
    for group in groups:
        key = (group["peak_lr"], group["weight_decay"])
        if key in merged:
            merged[key]["params"] += group["params"]
        else:
            merged[key] = group
    return list(merged.values())


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's learning rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def largest_rate(optimizer: torch.optim.Optimizer) -> float:
    """The largest learning rate of all groups."""
    return max(group["lr"] for group in optimizer.param_groups)


def step_factor(
    config: TrainConfig, step: int, steps_per_epoch: int, history: Sequence[Mapping[str, Any]]
) -> float:
    """The factor on the peak learning rates at a step.

    Args:
        config: the settings.
        step: steps taken since the training began.
        steps_per_epoch: steps in one epoch.
        history: rows of history.csv so far. `plateau` reads their val losses, but not those of a frozen backbone's
            epochs once it trains.
    """
    thawed = config.freeze_epochs if len(history) >= config.freeze_epochs else 0
    return rate_factor(
        config.schedule,
        step,
        config.epochs * steps_per_epoch,
        round(config.warmup_epochs * steps_per_epoch),
        [row["val_loss"] for row in history[thawed:]],
    )
