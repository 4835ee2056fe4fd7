"""Pairs of conditions that answer a question: two trainings that differ in one thing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fertool.report.conditions import FROM_SCRATCH, Condition
from fertool.report.words import seeds

# what weights bring with them: a network that begins with weights is often trained in stages
PRETRAINING_SETTINGS = ("weights", "freeze_epochs", "unfreeze", "backbone_lr", "layer_decay", "seed")
GUIDANCE_PREFIX = "guide"


@dataclass(frozen=True)
class Pair:
    """A condition, the one that it is compared with, and the settings in which they differ beside the question."""

    one: Condition
    other: Condition
    also_differ: tuple[str, ...]

    @property
    def has_several_seeds(self) -> bool:
        """Whether an interval of their difference is over seeds too."""
        return self.one.seeds > 1 or self.other.seeds > 1

    @property
    def seeds_each(self) -> str:
        """How many seeds stand behind a comparison; with one each, what that means."""
        one, other = self.one.seeds, self.other.seeds
        if one == other == 1:
            return "one seed each, so two networks are compared and not two methods"
        return f"{seeds(one)} each" if one == other else f"{seeds(one)} against {seeds(other)}"

    @property
    def caveat(self) -> str:
        """A clause that names the other settings that differ; empty where there are none."""
        if not self.also_differ:
            return ""
        return f" (they also differ in {', '.join(name.replace('_', ' ') for name in self.also_differ)})"


def pretraining_pairs(conditions: Sequence[Condition]) -> list[Pair]:
    """Each pretrained condition with the same network from scratch, without guidance, on the same training faces.

    Where several from scratch fit, the one that differs in the fewest other settings.
    """
    pairs = []
    for one in _unguided(conditions):
        if one.pretraining == FROM_SCRATCH or one.is_adopted:
            continue
        fitting = [
            Pair(one, other, _differing(one.config, other.config))
            for other in _unguided(conditions)
            if other.pretraining == FROM_SCRATCH
            and other.model == one.model
            and other.config.get("train_fraction") == one.config.get("train_fraction")
        ]
        if fitting:
            pairs.append(min(fitting, key=lambda pair: len(pair.also_differ)))
    return pairs


def without_scratch(conditions: Sequence[Condition]) -> list[Condition]:
    """Pretrained conditions without the same network from scratch beside them."""
    paired = {pair.one.name for pair in pretraining_pairs(conditions)}
    return [
        condition
        for condition in _unguided(conditions)
        if condition.pretraining != FROM_SCRATCH and not condition.is_adopted and condition.name not in paired
    ]


def family_pairs(conditions: Sequence[Condition]) -> list[Pair]:
    """Each transformer with each convolutional network, without guidance."""
    return [
        Pair(one, other, ())
        for one in _unguided(conditions)
        if one.family == "transformer"
        for other in _unguided(conditions)
        if other.family == "cnn"
    ]


def _unguided(conditions: Sequence[Condition]) -> Iterator[Condition]:
    return (condition for condition in conditions if condition.config.get("guide") is None)


def _differing(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    guided = (name for name in one if name.startswith(GUIDANCE_PREFIX))
    left_out = {*PRETRAINING_SETTINGS, *guided}
    return tuple(name for name in one if name not in left_out and one[name] != other.get(name))
