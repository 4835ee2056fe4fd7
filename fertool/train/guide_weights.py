"""Several weights of the attention loss (lambdas), trained one after another, and which of them to choose."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from fertool.errors import UserError
from fertool.runtime.progress import log
from fertool.summary import Summary, Table
from fertool.train.command import RunOptions
from fertool.train.config import TrainConfig
from fertool.train.seeds import train_seeds
from fertool.workspace import Workspace

MOST_LOST = 0.005  # the val accuracy, in 0..1, that a lambda may cost beside lambda 0


@dataclass(frozen=True)
class LambdaOutcome:
    """The figures of a lambda on val: means over the seeds, each at its best epoch."""

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
    """`train_seeds` for each lambda; the runs are called `<name>-g<lambda>-s<seed>`.

    With lambda 0 maps are measured and nothing is asked of them. The test split is not looked at.

    Args:
        workspace: where the faces lie.
        config: the settings but for lambda and seed.
        weights: the lambdas.
        seeds: the seeds that each is trained with.
        options: those of `train`; `name` is by default the model and a hash of the other settings.

    Returns:
        The records of the runs, and the lambda that `choose_weight` takes.

    Raises:
        UserError: what `train` raises, and where the training is not guided.
    """
    if config.guide is None:
        raise UserError("--guide-weight: a setting of guided trainings only; give --guide as well")
    if all(weights):
        log.warning(
            "--guide-weight: no lambda will be chosen, for 0 is not among them; add 0 to compare with it"
        )
    base = options.get("name") or replace(config, guide_weight=TrainConfig.guide_weight).condition_name
    runs: list[dict[str, Any]] = []
    rows, notes, outcomes = [], [], []
    for weight in weights:
        weight_options: RunOptions = {
            **options,
            "name": f"{base}-g{weight:g}",
            "resume": options.get("resume", False) and weight == weights[0],
        }
        summary = train_seeds(workspace, replace(config, guide_weight=weight), seeds, **weight_options)
        records = summary.data["runs"]
        runs += records
        rows += summary.tables[0].rows
        notes += [note for note in summary.notes if "done already" in note]
        accuracy = float(np.mean([run["best"]["val_accuracy"] for run in records]))
        shares = [share for run in records if (share := background_share(run["best"])) is not None]
        mean_share = float(np.mean(shares)) if len(shares) == len(records) else None
        outcomes.append(LambdaOutcome(weight, accuracy, mean_share))
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
    """The background's share on val over all maps, an empty map counting as one that lies wholly on the background.

    `figures` is a row of history.csv, whose `val_background_share` is that of the maps that are not empty: a lambda
    that empties maps is not chosen for the maps that it leaves. None where val has no face to guide.
    """
    empty, share = figures["val_empty_maps"], figures["val_background_share"]
    if empty is None:
        return None
    return empty + (1 - empty) * (share or 0.0)


def choose_weight(outcomes: Sequence[LambdaOutcome]) -> LambdaOutcome | None:
    """The lambda with the least background share that costs at most half a point of val accuracy beside lambda 0.

    None where nothing was trained with lambda 0, or no other lambda lowers the share at that price.
    """
    shares = {
        outcome.weight: outcome.val_share_of_all_maps
        for outcome in outcomes
        if outcome.val_share_of_all_maps is not None
    }
    unguided = next((outcome for outcome in outcomes if outcome.weight == 0), None)
    if unguided is None or 0 not in shares:
        return None
    fitting = [
        outcome
        for outcome in outcomes
        if outcome.weight in shares
        and shares[outcome.weight] < shares[0]
        and outcome.val_accuracy >= unguided.val_accuracy - MOST_LOST
    ]
    return min(fitting, key=lambda outcome: shares[outcome.weight], default=None)


def _rule(outcomes: Sequence[LambdaOutcome], chosen: LambdaOutcome | None) -> str:
    rule = f"the least background share on val that costs at most {100 * MOST_LOST:g} points of val accuracy"
    if all(outcome.weight for outcome in outcomes):
        return "no lambda is chosen: none was trained with lambda 0, beside which they are judged"
    if chosen is None:
        most = f"{100 * MOST_LOST:g} points of val accuracy"
        return f"no lambda is chosen: none lowers the background share on val below lambda 0's for at most {most}"
    return f"lambda {chosen.weight:g}: {rule}"


def read_guide_weights(text: str) -> list[float]:
    """The lambdas that `--guide-weight` names, such as `1` or `0,0.1,0.3`. Raises UserError for other text."""
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--guide-weight {text}: give numbers with commas between") from None
    if not all(0 <= weight < math.inf for weight in weights):
        raise UserError(f"--guide-weight {text}: a lambda is 0 or more")
    if len({f"{weight:g}" for weight in weights}) < len(weights):
        raise UserError(f"--guide-weight {text}: the same lambda stands there twice")
    return weights
