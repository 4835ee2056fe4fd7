"""A suite: a family of figures, how they are made, what they depend on and how they are shown.

Each suite declares itself at the end of its own file; its name in `fertool.completion.SUITES` registers it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fertool.explain.heatmaps import cam_layer_of
from fertool.models.backbones.multiscale import PREFIX
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.freshness import is_outdated
from fertool.score.results.tables import Scores
from fertool.score.settings import ScoreSettings
from fertool.summary import Table
from fertool.workspace import Run, StoredScores, Workspace

Compared = dict[str, Any]  # figures that only several runs together have, by name


@dataclass(frozen=True)
class Results:
    """The figures of several runs that are shown together, on the same faces."""

    evaluated_runs: list[EvaluatedRun]
    scores: Scores  # figures, a run each
    columns: dict[str, Columns]  # values a face, by the run's name
    settings: ScoreSettings

    @property
    def clusters(self) -> np.ndarray:
        """Numbers that faces share which are not independent, int64 (N,): see `cluster_faces`."""
        return self.evaluated_runs[0].clusters


def described(
    suite: "Suite", evaluated: EvaluatedRun, settings: ScoreSettings, figures: Figures, identity: Figures
) -> Figures:
    """A run's figures with what identifies the run, and the layer that its maps come from.

    Args:
        suite: the suite that made the figures.
        evaluated: the run and its faces.
        settings: the settings of the call.
        figures: the run's figures.
        identity: name, row and settings of the run, see `conditions.identities`.

    Returns:
        All of them in one dictionary; `cam_layer` only where the maps come from a layer.
    """
    layer = cam_layer_of(evaluated.run, settings.request) if suite.explains else ""
    return figures | identity | ({"cam_layer": layer} if layer else {})


def tables_alone(
    tables: Callable[[Scores], list[Table]],
) -> Callable[[Results], tuple[Compared, list[Table]]]:
    """A suite's `show` where runs together have no figures beyond their tables."""

    def show(results: Results) -> tuple[Compared, list[Table]]:
        return {}, tables(results.scores)

    return show


def no_settings(_settings: ScoreSettings) -> dict[str, Any]:
    """The recorded settings of a suite whose figures depend on none."""
    return {}


@dataclass(frozen=True)
class Suite:
    """A family of figures.

    Args:
        name: as `--suite` has it.
        explains: whether its figures belong to an explainer and a target.
        score: figures of a run, and values a face.
        show: figures that several runs have together, and the tables of all.
        inputs: the files that the figures are made from.
        recorded: the settings that the figures depend on, as their record has them.
        revision: raised when the same inputs would give other figures.
        revision_of_views: stands in its place for networks of several views, where their figures alone are others.
        only_target: the target of its heatmaps, whatever target is asked for; None for that one.
        beside: suffixes of the files beside the JSON.
        runs_explainer: whether it makes maps of other faces or weights, for which those on disk are not enough.
        after: names of suites whose stored figures it reads.
        samples: whether `--faces` holds for it; without, it always takes all faces of the split.
        needs_landmarks: whether it has no figures where no face has landmarks of its own.
    """

    name: str
    explains: bool
    score: Callable[[EvaluatedRun, ScoreSettings], tuple[Figures, Columns]]
    show: Callable[[Results], tuple[Compared, list[Table]]]
    inputs: Callable[[EvaluatedRun, ScoreSettings], list[Path]]
    recorded: Callable[[ScoreSettings], dict[str, Any]] = no_settings
    revision: int = 1
    revision_of_views: int | None = None
    only_target: str | None = None
    beside: tuple[str, ...] = (".csv",)
    runs_explainer: bool = False
    after: tuple[str, ...] = ()
    samples: bool = True
    needs_landmarks: bool = False

    def revision_for(self, run: Run) -> int:
        """The revision of a run's figures."""
        if self.revision_of_views is None or not run.config()["model"].startswith(PREFIX):
            return self.revision
        return self.revision_of_views

    def path(self, run: Run, settings: ScoreSettings) -> Path:
        """The JSON of a run's figures, there or not."""
        explainer, target = (settings.request.key, self.only_target or settings.target)
        grid = self.recorded(settings).get("grid")
        if not self.explains:
            return run.scores(self.name, settings.split)
        return run.scores(self.name, settings.split, explainer, target, grid)

    def stored(self, run: Run, split: str) -> list[StoredScores]:
        """The suite's figures that a run has on disk: one, or one for each explainer, target and common grid."""
        return self.among(run.stored_scores(split))

    def among(self, scores: Iterable[StoredScores]) -> list[StoredScores]:
        """The suite's own among a run's figures on disk."""
        return [
            stored
            for stored in scores
            if stored.suite == self.name
            and (stored.explainer is not None) == self.explains
            and self.only_target in (None, stored.target)
        ]

    def is_outdated(self, workspace: Workspace, run: Run, path: Path) -> bool:
        """Whether a run's figures in `path`, which exists, would come out otherwise now."""
        return is_outdated(workspace, run, path, self.revision_for(run))
