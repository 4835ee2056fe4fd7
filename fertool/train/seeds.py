"""Several seeds of one condition, trained one after another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from fertool.errors import UserError
from fertool.summary import Summary
from fertool.train.command import RunOptions, train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace


def train_seeds(
    workspace: Workspace,
    config: TrainConfig,
    seeds: Sequence[int],
    **options: Unpack[RunOptions],
) -> Summary:
    """`train` for each seed; the runs are called `<name>-s<seed>`, and a run that is done is left alone.

    `options` are those of `train`; `name` is by default the condition's. `resume` holds for the first run only, as the
    series may have been interrupted before the others began. Raises what `train` raises; runs before it stay.
    """
    records, rows, notes = [], [], []
    for seed in seeds:
        seed_config = replace(config, seed=seed)
        seed_options: RunOptions = {
            **options,
            "name": f"{options.get('name') or seed_config.condition_name}-s{seed}",
            "resume": options.get("resume", False) and seed == seeds[0],
        }
        summary = train(workspace, seed_config, **seed_options)
        records.append(summary.data)
        rows += summary.tables[0].rows
        notes += summary.notes
    table = replace(summary.tables[0], title=f"{len(seeds)} seeds", rows=rows)
    if len(seeds) > 1:
        accuracy = np.array([record["best"]["val_accuracy"] for record in records])
        notes.append(f"val accuracy {accuracy.mean():.1%}, standard deviation {accuracy.std(ddof=1):.1%}")
    return Summary(data={"runs": records}, tables=[table], notes=notes)


def read_seeds(text: str) -> list[int]:
    """The seeds that `--seeds` names, such as `0-4` or `0,2,7`. Raises UserError for other text."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UserError(f"--seeds {text}: give seeds as 0-4 or 0,2,7")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: the same seed stands there twice")
    return seeds
