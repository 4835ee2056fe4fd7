"""The classes of a face that are explained."""

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.explainer import ChooseClasses

EVERY_CLASS = "all"
RULES = ("predicted", "label", EVERY_CLASS)
NAMED_CLASS = "class="  # before the name of a class that is also the name of a rule


def class_target(name: str) -> str:
    """The target that names a class, also the name of its folder: the class's name, or `class=label` for 'label'."""
    return f"{NAMED_CLASS}{name}" if name in RULES or name.startswith(NAMED_CLASS) else name


def check_target(target: str, classes: Sequence[str], rules: Sequence[str] = RULES) -> None:
    """Raise UserError for an unknown target.

    `rules` are those of RULES that the command takes; the name of a class is always taken.
    """
    names = [class_target(name) for name in classes]
    if target not in (*rules, *names):
        near = difflib.get_close_matches(target, names, n=1)
        nearest = f"nearest is {near[0]}; " if near else ""
        raise UserError(
            f"no target '{target}'; {nearest}there are {', '.join(rules)}, and the classes {', '.join(names)}"
        )


def stored_targets(target: str, classes: Sequence[str]) -> list[str]:
    """The targets whose maps a request makes: for `all`, those of each class."""
    return [class_target(name) for name in classes] if target == EVERY_CLASS else [target]


def choose_classes(target: str, classes: Sequence[str], labels: Tensor) -> ChooseClasses:
    """The rule of a target for a batch with these labels, int64 (B,)."""
    names = [class_target(name) for name in classes]

    def choose(logits: Tensor) -> Tensor:
        if target == "predicted":
            return logits.argmax(dim=1, keepdim=True)
        if target == "label":
            return labels.to(logits.device)[:, None]
        codes = [names.index(name) for name in stored_targets(target, classes)]
        return torch.tensor(codes, device=logits.device).expand(len(logits), -1)

    return choose
