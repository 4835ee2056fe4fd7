"""The optimizer of the parameters that train just now, each stage at its own rate."""

from typing import Any

import torch

from fertool.models import FaceClassifier
from fertool.models.structure.stages import parameter_stages
from fertool.train.config import TrainConfig

SGD_MOMENTUM = 0.9


def make_optimizer(model: FaceClassifier, config: TrainConfig) -> torch.optim.Optimizer:
    """An optimizer of the parameters that require a gradient; each group carries its peak rate as `peak_lr`.

    The head trains at `lr`; the backbone at `backbone_lr` where that is given. `layer_decay` d multiplies a
    stage's rate by d to the power of its distance from the head (Clark et al. 2020, section 3.3.5 of
    'ELECTRA'). AdamW and SGD decay matrices and kernels only, not norms, biases and what else a timm network
    excepts (class tokens, position embeddings); Adam, whose decay is an L2 penalty, all, as in PyTorch.
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
        decayed, plain = [], []
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
    """Groups of the same rate and decay as one: a fused step has a cost a group."""
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
