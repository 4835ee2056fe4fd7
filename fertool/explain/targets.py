"""Which classes of a face are explained."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.explainer import ChooseClasses

EVERY_CLASS = "all"


def check_target(target: str, classes: Sequence[str]) -> None:
    """Raise UserError for a target that is none: `predicted`, `label`, a class, or `all` of them."""
    known = ["predicted", "label", *classes, EVERY_CLASS]
    if target not in known:
        raise UserError(f"no target '{target}'; there are {', '.join(known)}")


def stored_targets(target: str, classes: Sequence[str]) -> list[str]:
    """The targets whose maps a request makes: `all` makes those of each class."""
    return list(classes) if target == EVERY_CLASS else [target]


def choose_classes(target: str, classes: Sequence[str], labels: Tensor) -> ChooseClasses:
    """The rule of a target for a batch with these labels, int64 (B,)."""

    def choose(logits: Tensor) -> Tensor:
        if target == "predicted":
            return logits.argmax(dim=1, keepdim=True)
        if target == "label":
            return labels.to(logits.device)[:, None]
        codes = [classes.index(name) for name in stored_targets(target, classes)]
        return torch.tensor(codes, device=logits.device).expand(len(logits), -1)

    return choose
