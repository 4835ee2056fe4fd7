"""A network's parameters by their depth, for fine-tuning in stages."""

from typing import Any

from fertool.models.classifier import FaceClassifier


def parameter_stages(model: FaceClassifier) -> list[list[str]]:
    """Names of the network's parameters, stage by stage from the input to the head, which is the last.

    Stages are timm's own layer groups where the network declares them (one for each block), else the top-level
    submodules that have parameters. In a model of several branches, stage k holds the k-th stage of each branch.
    """
    names = [name for name, _ in model.network.named_parameters()]
    head = [name for name in names if in_head(model, name)]
    stages: dict[int, list[str]] = {}
    for name, depth in _depths(model).items():
        if name not in head:
            stages.setdefault(depth, []).append(name)
    return [*(stages[depth] for depth in sorted(stages)), head]


def in_head(model: FaceClassifier, name: str) -> bool:
    """Whether a parameter or buffer of the network belongs to its head, or to one of several."""
    return any(_lies_in(name, module) for module in (model.head, *model.more_heads))


def _lies_in(parameter: str, module: str) -> bool:
    return not module or parameter == module or parameter.startswith(f"{module}.")


def _depths(model: FaceClassifier) -> dict[str, int]:
    depths: dict[str, int] = {}
    for prefix, network in model.branches():
        own = [name for name, _ in network.named_parameters()]
        if hasattr(network, "group_matcher"):
            from timm.models import group_parameters

            declared: Any = network
            groups = group_parameters(network, declared.group_matcher(coarse=False))
            depth_of = {name: depth for depth, group in groups.items() for name in group}
        else:
            tops = list(dict.fromkeys(name.partition(".")[0] for name in own))
            depth_of = {name: tops.index(name.partition(".")[0]) for name in own}
        depths |= {f"{prefix}{name}": depth_of[name] for name in own}
    return {name: depths.get(name, 1 << 30) for name, _ in model.network.named_parameters()}
