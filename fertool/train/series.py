"""One run or many, as a command line asks for them."""

from typing import Unpack

from fertool.errors import UserError
from fertool.summary import Summary
from fertool.train.command import RunOptions, train
from fertool.train.config import TrainConfig
from fertool.train.guide_weights import read_guide_weights, train_guide_weights
from fertool.train.seeds import read_seeds, train_seeds
from fertool.workspace import Workspace


def train_series(
    workspace: Workspace,
    config: TrainConfig,
    *,
    seeds: str | None = None,
    guide_weights: str | None = None,
    **options: Unpack[RunOptions],
) -> Summary:
    """`train`; for the seeds of `--seeds` `train_seeds`; for several lambdas of `--guide-weight` `train_guide_weights`.

    Raises what they raise, and UserError for texts that say no seeds or lambdas, and for seeds beside a seed.
    """
    if seeds is not None and config.seed:
        raise UserError(f"--seeds {seeds} --seed {config.seed}: give one of the two")
    lambdas = [] if guide_weights is None else read_guide_weights(guide_weights)
    if len(lambdas) > 1:
        of_seeds = [config.seed] if seeds is None else read_seeds(seeds)
        return train_guide_weights(workspace, config, lambdas, of_seeds, **options)
    if seeds is not None:
        return train_seeds(workspace, config, read_seeds(seeds), **options)
    return train(workspace, config, **options)
