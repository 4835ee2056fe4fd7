"""The files that suites' figures are made from, and the settings that belong to an explainer."""

from pathlib import Path
from typing import Any

from fertool.models.predictions import model_inputs
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.results.freshness import EXPLAINER_REVISION
from fertool.score.settings import ScoreSettings


def prediction_files(evaluated: EvaluatedRun, _settings: ScoreSettings) -> list[Path]:
    """The run's predictions, which are made now where there are none, and what they were made from."""
    evaluated.logits  # noqa: B018
    inputs = model_inputs(evaluated.workspace, evaluated.run, evaluated.split)
    return [evaluated.run.predictions(evaluated.split), *inputs]


def model_files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    """Masks, predictions, and what these were made from."""
    workspace, split = evaluated.workspace, evaluated.split
    masks = [workspace.region_maps(split), workspace.landmarks(split)]
    return [*masks, *prediction_files(evaluated, settings)]


def heatmap_files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    """Heatmaps, which are made now where there are none, masks and predictions."""
    heatmaps = evaluated.heatmaps(settings.request, settings.target)
    return [heatmaps.path, *model_files(evaluated, settings)]


def explainer_and_target(settings: ScoreSettings, target: str | None = None) -> dict[str, Any]:
    """The settings that the record of a suite of heatmaps holds; `target` where it is not the one of the settings."""
    request = settings.request
    recorded = {
        "explainer": request.key,
        "target": (target or settings.target) if request.looks_at_target else "ignored",
    }
    # nothing is said of the first revision: figures are older than this setting
    newer = {EXPLAINER_REVISION: request.explainer.revision} if request.explainer.revision > 1 else {}
    return recorded | newer


def without_nulls(settings: ScoreSettings) -> dict[str, Any]:
    """The setting that the record holds where null maps were not scored as well."""
    return {} if settings.nulls else {"nulls": False}
