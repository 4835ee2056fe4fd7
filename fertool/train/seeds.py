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
    """`train` for each seed, as `<name>-s<seed>`; a run that is done is left alone.

    The name is by default the condition's. To `resume` asks for the first run only: others may not have been begun
    when the series was interrupted. Raises what `train` raises; runs before it stay.
    """
    records, rows, notes = [], [], []
    for seed in seeds:
        of_seed = replace(config, seed=seed)
        of_run = options | {
            "name": f"{options.get('name') or of_seed.condition_name}-s{seed}",
            "resume": options.get("resume", False) and seed == seeds[0],
        }
        summary = train(workspace, of_seed, **of_run)
        records.append(summary.data)
        rows += summary.tables[0].rows
        notes += summary.notes
    table = replace(summary.tables[0], title=f"{len(seeds)} seeds", rows=rows)
    if len(seeds) > 1:
        accuracy = np.array([record["best"]["val_accuracy"] for record in records])
        notes.append(f"val accuracy {accuracy.mean():.1%}, standard deviation {accuracy.std(ddof=1):.1%}")
    return Summary(data={"runs": records}, tables=[table], notes=notes)


def read_seeds(text: str) -> list[int]:
    """The seeds that `--seeds` says, as `0-4` or `0,2,7`. Raises UserError for what is none."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UserError(f"--seeds {text}: give seeds as 0-4 or 0,2,7")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: a seed stands there twice")
    return seeds
