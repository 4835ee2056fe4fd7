"""Several weights of the attention loss, trained one after another, and which of them to choose."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from fertool.errors import UserError
from fertool.summary import Summary, Table
from fertool.train.command import RunOptions
from fertool.train.config import TrainConfig
from fertool.train.seeds import train_seeds
from fertool.workspace import Workspace

MOST_LOST = 0.005  # of val accuracy, beside lambda 0


@dataclass(frozen=True)
class OfWeight:
    """What a lambda comes to on val, each seed at its best epoch; means over the seeds."""

    weight: float
    val_accuracy: float
    val_share_of_all_maps: float | None  # `background_share`; None: val has no face to guide


def train_guide_weights(
    workspace: Workspace,
    config: TrainConfig,
    weights: Sequence[float],
    seeds: Sequence[int],
    **options: Unpack[RunOptions],
) -> Summary:
    """`train_seeds` for each lambda, as `<name>-g<lambda>-s<seed>`, and the lambda that `choose_weight` takes.

    With lambda 0 maps are measured and nothing is asked of them. Test is not looked at. The name is by default
    the model and a hash of the other settings. Raises what `train` raises, and UserError without guidance.
    """
    if config.guide is None:
        raise UserError("--guide-weight: of a guided training only; give --guide as well")
    base = options.get("name") or replace(config, guide_weight=TrainConfig.guide_weight).condition_name
    runs: list[dict[str, Any]] = []
    rows, notes, outcomes = [], [], []
    for weight in weights:
        of_weight = options | {
            "name": f"{base}-g{weight:g}",
            "resume": options.get("resume", False) and weight == weights[0],
        }
        summary = train_seeds(workspace, replace(config, guide_weight=weight), seeds, **of_weight)
        records = summary.data["runs"]
        runs += records
        rows += summary.tables[0].rows
        notes += [note for note in summary.notes if "done already" in note]
        accuracy = float(np.mean([run["best"]["val_accuracy"] for run in records]))
        shares = [background_share(run["best"]) for run in records]
        outcomes.append(OfWeight(weight, accuracy, None if None in shares else float(np.mean(shares))))
    chosen = choose_weight(outcomes)
    table = Table(
        f"lambda, {len(seeds)} seed{'s' if len(seeds) > 1 else ''} each",
        ["lambda", "val accuracy", "val background share of all maps", "chosen"],
        [
            [
                f"{outcome.weight:g}",
                f"{outcome.val_accuracy:.1%}",
                "" if outcome.val_share_of_all_maps is None else f"{outcome.val_share_of_all_maps:.3f}",
                "*" if outcome is chosen else "",
            ]
            for outcome in outcomes
        ],
    )
    return Summary(
        data={
            "runs": runs,
            "lambdas": [vars(outcome) for outcome in outcomes],
            "chosen": None if chosen is None else chosen.weight,
        },
        tables=[Table("runs", summary.tables[0].columns, rows), table],
        notes=[*notes, _rule(outcomes, chosen)],
    )


def background_share(figures: Mapping[str, float | None]) -> float | None:
    """The background's share on val over all maps, an empty one counting as one that lies wholly on the background.

    `figures` is a row of history.csv, whose share is that of the other maps. A lambda that empties maps is not
    chosen for those that it leaves. None where val has no face to guide.
    """
    empty, share = figures["val_empty_maps"], figures["val_background_share"]
    if empty is None:
        return None
    return empty + (1 - empty) * (share or 0.0)


def choose_weight(outcomes: Sequence[OfWeight]) -> OfWeight | None:
    """The lambda with the least background share that costs at most half a point of val accuracy beside lambda 0.

    None where nothing was trained with lambda 0, or no other lambda lowers the share at that price.
    """
    with_maps = [outcome for outcome in outcomes if outcome.val_share_of_all_maps is not None]
    unguided = next((outcome for outcome in with_maps if outcome.weight == 0), None)
    if unguided is None:
        return None
    fitting = [
        outcome
        for outcome in with_maps
        if outcome.val_accuracy >= unguided.val_accuracy - MOST_LOST
        and outcome.val_share_of_all_maps < unguided.val_share_of_all_maps
    ]
    return min(fitting, key=lambda outcome: outcome.val_share_of_all_maps, default=None)


def _rule(outcomes: Sequence[OfWeight], chosen: OfWeight | None) -> str:
    rule = f"the least background share on val that costs at most {100 * MOST_LOST:g} points of val accuracy"
    if all(outcome.weight for outcome in outcomes):
        return "no lambda is chosen: none was trained with lambda 0, beside which they are judged"
    if chosen is None:
        return f"no lambda is chosen: {rule} beside lambda 0, by none of these"
    return f"lambda {chosen.weight:g}: {rule}"


def read_guide_weights(text: str) -> list[float]:
    """The lambdas that `--guide-weight` says, as `1` or `0,0.1,0.3`; UserError for other text."""
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--guide-weight {text}: give numbers, with commas between") from None
    if not all(0 <= weight < math.inf for weight in weights):
        raise UserError(f"--guide-weight {text}: a lambda is 0 or more")
    if len({f"{weight:g}" for weight in weights}) < len(weights):
        raise UserError(f"--guide-weight {text}: a lambda stands there twice")
    return weights
