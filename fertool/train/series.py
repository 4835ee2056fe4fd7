"""One run or several, as the command line asks for them."""

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
    """Train one run, or a run for each seed and each lambda.

    Args:
        workspace: where the faces lie.
        config: the settings.
        seeds: what `--seeds` says, such as `0-4`; then `train_seeds` is called.
        guide_weights: what `--guide-weight` says, such as `0,0.1,0.3`; for several `train_guide_weights` is called.
        options: those of `train`.

    Raises:
        UserError: what the functions raise; texts that name no seeds or lambdas; seeds beside a seed.
    """
    if seeds is not None and config.seed:
        raise UserError(f"--seeds {seeds} --seed {config.seed}: give one of the two")
    lambdas = [] if guide_weights is None else read_guide_weights(guide_weights)
    if len(lambdas) > 1:
        seed_list = [config.seed] if seeds is None else read_seeds(seeds)
        return train_guide_weights(workspace, config, lambdas, seed_list, **options)
    if seeds is not None:
        return train_seeds(workspace, config, read_seeds(seeds), **options)
    return train(workspace, config, **options)
