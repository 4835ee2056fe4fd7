"""Sweeps over lambda, the weight of the attention loss: runs that differ in nothing else but masks and seed.

The masks that guided are each face's own or, the placebo, another face's. With lambda 0 no mask has a say, and own
and shuffled masks begin at the same runs.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from fertool.train.config import TrainConfig
from fertool.train.guidance.maps import default_guide_explainer, default_kind
from fertool.workspace import Run

OF_THE_CONDITION = ("guide_weight", "guide_masks", "seed")  # what the runs of a sweep may differ in
OWN, SHUFFLED = "own", "shuffled"


@dataclass(frozen=True)
class Condition:
    """The runs of a sweep with one lambda and one kind of masks, a run a seed."""

    masks: str | None  # own or shuffled; None: lambda is 0, and no mask has a say
    weight: float  # lambda
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Lambda and masks, as `0`, `0.3 own`, `0.3 shuffled`."""
        return f"{self.weight:g}" if self.masks is None else f"{self.weight:g} {self.masks}"


@dataclass(frozen=True)
class Sweep:
    """Conditions that differ in lambda and masks alone: lambda 0 first, then rising, own before shuffled."""

    name: str  # the model and all its settings that are not default
    explainer: str  # whose map guided, as `fertool score --explainer` knows it: see `_guiding_explainer`
    conditions: tuple[Condition, ...]
    repeated: tuple[str, ...]  # runs with a seed that their condition has already: they count once

    @property
    def unguided(self) -> Condition | None:
        """The condition with lambda 0, where there is one."""
        return next((condition for condition in self.conditions if condition.masks is None), None)


def find_sweeps(runs: Iterable[Run]) -> list[Sweep]:
    """The sweeps among runs that have two conditions or more, one of them guided; by name.

    Where a sweep was not trained with lambda 0, runs without guidance and otherwise with its settings stand
    for it.
    """
    records = {run: run.config() for run in sorted(runs, key=lambda run: run.name)}
    families: dict[str, list[Run]] = {}
    for run, record in records.items():
        if record["config"].get("guide") is not None:
            families.setdefault(_settings_key(record["config"]), []).append(run)
    sweeps = [_sweep(members, records) for members in families.values()]
    return sorted((sweep for sweep in sweeps if len(sweep.conditions) > 1), key=lambda sweep: sweep.name)


def _sweep(members: Sequence[Run], records: dict[Run, dict[str, Any]]) -> Sweep:
    """The sweep of guided runs that share their settings, and of what stands for lambda 0 among all records."""
    first = records[members[0]]
    configs = {run: record["config"] for run, record in records.items()}
    # of two runs with lambda 0 and the same seed, which are the same network, the one with own masks
    unguided = sorted(
        (run for run in members if configs[run]["guide_weight"] == 0),
        key=lambda run: configs[run]["guide_masks"] != OWN,
    ) or [
        run
        for run, config in configs.items()
        if config.get("guide") is None
        and _settings_key(config, guidance=False) == _settings_key(first["config"], guidance=False)
    ]
    found: dict[tuple[float, str], list[Run]] = {(0, ""): unguided} if unguided else {}
    for run in members:
        weight, masks = configs[run]["guide_weight"], configs[run]["guide_masks"]
        if weight:
            found.setdefault((weight, masks), []).append(run)
    conditions, repeated = [], []
    for (weight, masks), condition_runs in sorted(found.items()):
        seeds: dict[int, Run] = {}
        for run in condition_runs:
            if seeds.setdefault(configs[run]["seed"], run) is not run:
                repeated.append(run.name)
        conditions.append(Condition(masks or None, weight, tuple(seeds[seed] for seed in sorted(seeds))))
    return Sweep(_sweep_name(first["config"]), _guiding_explainer(first), tuple(conditions), tuple(repeated))


def _settings_key(config: dict[str, Any], *, guidance: bool = True) -> str:
    """Equal for runs of one sweep; with `guidance` False, for all that differ in how they were guided."""
    kept = {
        name: value
        for name, value in config.items()
        if name not in OF_THE_CONDITION and (guidance or not name.startswith("guide"))
    }
    return json.dumps(kept, sort_keys=True)


def _sweep_name(config: dict[str, Any]) -> str:
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    told = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in config.items()
        if name not in (*OF_THE_CONDITION, "model") and value != defaults.get(name, MISSING)
    ]
    return ", ".join([config["model"], *told])


def _guiding_explainer(record: dict[str, Any]) -> str:
    """The explainer whose maps have the background share that the run's training measured on val.

    A signed map is read by its size, whatever form was asked of it: see `Guide.measure`.
    """
    config = record["config"]
    explainer = config.get("guide_explainer") or default_guide_explainer(record["attention_blocks"])
    kind = config.get("guide_map") or default_kind(explainer)
    return {"abs": f"{explainer}-abs", "signed": f"{explainer}-size"}.get(kind, explainer)
