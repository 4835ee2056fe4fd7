"""Scoring shared out among the processes that torchrun started: faces of maps, then suites and runs."""

from collections.abc import Sequence
from dataclasses import replace

from fertool.runtime.ranks import Ranks
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.results.stored import ensure_figures
from fertool.score.settings import ScoreSettings
from fertool.score.suites.suite import Suite


def share_out_figures(
    ranks: Ranks, suites: Sequence[Suite], evaluated_runs: Sequence[EvaluatedRun], settings: ScoreSettings
) -> list[EvaluatedRun]:
    """Make the figures of all suites and runs, each in one of the processes.

    Predictions and heatmaps come first: all processes share the faces of each run. A suite that reads another's figures
    waits until these are there.

    Args:
        ranks: the processes; all of them call this.
        suites: the suites.
        evaluated_runs: the runs, alike in all processes.
        settings: the settings of the call.

    Returns:
        The runs with everything up to date, also where it was made again by force.
    """
    names = {suite.name for suite in suites}
    ready = [_with_predictions_and_maps(ranks, suites, run, settings) for run in evaluated_runs]
    forced = {run.run.name: run.force for run in evaluated_runs}
    waiting = [suite for suite in suites if names & set(suite.after)]
    for wave in ([suite for suite in suites if suite not in waiting], waiting):
        ranks.share_out(
            [(suite, run) for suite in wave for run in ready],
            lambda job: ensure_figures(job[1], job[0], settings, force=forced[job[1].run.name]),
        )
    return ready


def _with_predictions_and_maps(
    ranks: Ranks, suites: Sequence[Suite], evaluated: EvaluatedRun, settings: ScoreSettings
) -> EvaluatedRun:
    ranks.broadcast_from_rank0(lambda: evaluated.logits)
    ready = replace(evaluated, force=False)
    for target in {suite.only_target or settings.target: None for suite in suites if suite.explains}:
        ready.heatmaps(settings.request, target)
    return ready
