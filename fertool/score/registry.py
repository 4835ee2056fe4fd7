"""The suites there are, by name: what each is made from, how it scores a run and shows several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.models.predictions import model_inputs
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.face_csv import read_columns
from fertool.score.results.freshness import EXPLAINER_REVISION, is_outdated
from fertool.score.results.tables import Scores
from fertool.score.settings import ScoreSettings
from fertool.score.suites import (
    causal,
    causal_agreement,
    classification,
    faithfulness,
    representation,
    robustness,
    robustness_attention,
    sanity,
    truth,
)
from fertool.score.suites import region_share_tables as attention_tables
from fertool.score.suites import region_shares as attention
from fertool.summary import Table
from fertool.workspace import Run, StoredScores, Workspace

Compared = dict[str, Any]  # figures that only several runs together have, by what they are
ShowRuns = Callable[
    [list[EvaluatedRun], Scores, dict[str, Columns], ScoreSettings], tuple[Compared, list[Table]]
]


@dataclass(frozen=True)
class Suite:
    """A family of figures."""

    name: str
    of_heatmaps: bool  # whether its figures belong to an explainer and a target
    score: Callable[[EvaluatedRun, ScoreSettings], tuple[Figures, Columns]]
    show: ShowRuns
    recorded: Callable[[ScoreSettings], dict[str, Any]]  # the settings that its figures depend on
    inputs: Callable[[EvaluatedRun, ScoreSettings], list[Path]]  # the files that they are made from
    revision: int = 1  # raised when the same inputs would give other figures
    only_target: str | None = None  # of heatmaps: what they are of, whatever target is asked for
    beside: tuple[str, ...] = (".csv",)  # suffixes of what is stored beside the JSON

    def path(self, run: Run, split: str, settings: ScoreSettings) -> Path:
        """The JSON of a run's figures, there or not."""
        target = self.only_target or settings.target
        explained = (settings.request.key, target) if self.of_heatmaps else (None, None)
        return run.scores(self.name, split, *explained, self.recorded(settings).get("grid"))

    def stored(self, run: Run, split: str) -> list[StoredScores]:
        """The suite's figures that a run has on disk: one, or one for each explainer, target and common grid."""
        return [
            stored
            for stored in run.stored_scores(split)
            if stored.suite == self.name
            and (stored.explainer is not None) == self.of_heatmaps
            and self.only_target in (None, stored.target)
        ]

    def is_outdated(self, workspace: Workspace, run: Run, path: Path) -> bool:
        """Whether the figures of a run in `place`, that are there, would come out otherwise now."""
        return is_outdated(workspace, run, path, self.revision)


def _only_tables(tables: Callable[[Scores], list[Table]]) -> ShowRuns:
    return lambda evaluated_runs, scores, columns, settings: ({}, tables(scores))


# --- what figures are made from -----------------------------------------------------------------------------


def _explainer_and_target(settings: ScoreSettings) -> dict[str, Any]:
    request = settings.request
    own = {"explainer": request.key, "target": settings.target if request.looks_at_target else "ignored"}
    # of the first one nothing is said: figures are older than this setting
    newer = {EXPLAINER_REVISION: request.explainer.revision} if request.explainer.revision > 1 else {}
    return own | newer


def _nulls(settings: ScoreSettings) -> dict[str, Any]:
    return {} if settings.nulls else {"nulls": False}


def _prediction_files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    evaluated.logits  # noqa: B018 (made now where there are none)
    of_model = model_inputs(evaluated.workspace, evaluated.run, evaluated.split)
    return [evaluated.run.predictions(evaluated.split), *of_model]


def _twin_files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    return [*_prediction_files(evaluated, settings), evaluated.workspace.faces_csv("train")]


def _model_files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    workspace, split = evaluated.workspace, evaluated.split
    masks = [workspace.region_maps(split), workspace.landmarks(split)]
    return [*masks, *_prediction_files(evaluated, settings)]


def _heatmap_files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    return [evaluated.heatmaps(settings.request, settings.target).path, *_model_files(evaluated, settings)]


def _causal_columns(evaluated: EvaluatedRun) -> Path:
    """What the suite causal has a face; UserError where it is not there, or of other faces, masks or weights."""
    record = evaluated.run.scores("causal", evaluated.split)
    path = record.with_suffix(".csv")
    if not path.exists():
        raise UserError(f"{path}: no such file; run 'fertool score --suite causal' for this run")
    if record.exists() and SUITES["causal"].is_outdated(evaluated.workspace, evaluated.run, record):
        raise UserError(
            f"{path}: of other faces, masks or weights, or by an older way of scoring; run 'fertool score --suite "
            "causal' again for this run"
        )
    return path


# --- suites that need more than a line ----------------------------------------------------------------------


def _show_classification(
    evaluated_runs: list[EvaluatedRun], scores: Scores, columns: dict[str, Columns], settings: ScoreSettings
) -> tuple[Compared, list[Table]]:
    return classification.classification_tables(scores, columns, evaluated_runs[0].clusters)


def _show_attention(
    evaluated_runs: list[EvaluatedRun], scores: Scores, columns: dict[str, Columns], settings: ScoreSettings
) -> tuple[Compared, list[Table]]:
    return attention_tables.attention_tables(scores, columns, evaluated_runs[0].clusters, settings.contrasts)


def _score_agreement(evaluated: EvaluatedRun, settings: ScoreSettings) -> tuple[Figures, Columns]:
    causes = read_columns(_causal_columns(evaluated))
    return causal_agreement.score_causal_agreement(
        evaluated, settings.request, settings.target, causes, nulls=settings.nulls
    )


def _show_robustness(
    evaluated_runs: list[EvaluatedRun], scores: Scores, columns: dict[str, Columns], settings: ScoreSettings
) -> tuple[Compared, list[Table]]:
    return {}, robustness.robustness_tables(scores, settings.reference)


def _score_representation(evaluated: EvaluatedRun, settings: ScoreSettings) -> tuple[Figures, Columns]:
    figures, columns, features = representation.score_representation(evaluated)
    representation.write_features(evaluated, features)
    return figures, columns


def _show_representation(
    evaluated_runs: list[EvaluatedRun], scores: Scores, columns: dict[str, Columns], settings: ScoreSettings
) -> tuple[Compared, list[Table]]:
    between, tables = representation.compare_stages(evaluated_runs)
    return {"cka": between}, [*representation.representation_tables(scores), *tables]


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in [
        Suite(
            name="classification",
            of_heatmaps=False,
            score=lambda evaluated, settings: classification.score_classification(evaluated, settings.tta),
            show=_show_classification,
            recorded=lambda settings: {"tta_asked": settings.tta} if settings.tta else {},
            inputs=_twin_files,
            revision=3,
        ),
        Suite(
            name="attention",
            of_heatmaps=True,
            score=lambda evaluated, settings: attention.score_attention(
                evaluated, settings.request, settings.target, grid=settings.grid, jitter=settings.jitter
            ),
            show=_show_attention,
            recorded=lambda settings: (
                _explainer_and_target(settings) | {"grid": settings.grid, "jitter": settings.jitter}
            ),
            inputs=_heatmap_files,
            revision=3,
        ),
        Suite(
            name="faithfulness",
            of_heatmaps=True,
            score=lambda evaluated, settings: faithfulness.score_faithfulness(
                evaluated, settings.request, settings.target, nulls=settings.nulls, seed=settings.seed
            ),
            show=_only_tables(faithfulness.faithfulness_tables),
            recorded=lambda settings: (
                _explainer_and_target(settings) | {"seed": settings.seed} | _nulls(settings)
            ),
            inputs=_heatmap_files,
            revision=2,
        ),
        Suite(
            name="causal",
            of_heatmaps=False,
            score=lambda evaluated, settings: causal.score_causal(
                evaluated, fills=settings.fills, seed=settings.seed
            ),
            show=_only_tables(causal.causal_tables),
            recorded=lambda settings: {"fills_asked": list(settings.fills), "seed": settings.seed},
            inputs=_model_files,
            revision=3,
        ),
        Suite(
            name="causal-agreement",
            of_heatmaps=True,
            score=_score_agreement,
            show=_only_tables(causal_agreement.causal_agreement_tables),
            recorded=lambda settings: _explainer_and_target(settings) | _nulls(settings),
            inputs=lambda evaluated, settings: [
                *_heatmap_files(evaluated, settings),
                _causal_columns(evaluated),
            ],
        ),
        Suite(
            name="robustness",
            of_heatmaps=False,
            score=lambda evaluated, settings: robustness.score_robustness(evaluated, seed=settings.seed),
            show=_show_robustness,
            recorded=lambda settings: {"seed": settings.seed},
            inputs=_model_files,
            revision=2,
        ),
        Suite(
            name="robustness-attention",
            of_heatmaps=True,
            score=lambda evaluated, settings: robustness_attention.score_robustness_attention(
                evaluated, settings.request, settings.target, seed=settings.seed
            ),
            show=_only_tables(robustness_attention.robustness_attention_tables),
            recorded=lambda settings: _explainer_and_target(settings) | {"seed": settings.seed},
            inputs=_model_files,
        ),
        Suite(
            name="sanity",
            of_heatmaps=True,
            score=lambda evaluated, settings: sanity.score_sanity(
                evaluated, settings.request, seed=settings.seed
            ),
            show=_only_tables(sanity.sanity_tables),
            recorded=lambda settings: (
                _explainer_and_target(replace(settings, target=sanity.TARGET)) | {"seed": settings.seed}
            ),
            inputs=_model_files,
            revision=2,
            only_target=sanity.TARGET,
        ),
        Suite(
            name="representation",
            of_heatmaps=False,
            score=_score_representation,
            show=_show_representation,
            recorded=lambda settings: {},
            inputs=lambda evaluated, settings: [
                *_model_files(evaluated, settings),
                evaluated.workspace.faces("train"),
                evaluated.workspace.faces_csv("train"),
            ],
            revision=4,
            beside=(".csv", representation.FEATURES_SUFFIX),
        ),
        Suite(
            name="truth",
            of_heatmaps=True,
            score=lambda evaluated, settings: truth.score_truth(evaluated, settings.request, settings.target),
            show=_only_tables(truth.truth_tables),
            recorded=_explainer_and_target,
            inputs=lambda evaluated, settings: [
                *_heatmap_files(evaluated, settings),
                *(path for path in [evaluated.workspace.truth(evaluated.split)] if path.exists()),
            ],
        ),
    ]
}
EVERY_SUITE = "all"


def chosen_suites(written: Sequence[str], target: str, truth_is_known: bool) -> list[Suite]:
    """The suites of these names, several of which may stand in one text behind commas, in the order of SUITES.

    `all` are those that target and faces allow.

    `causal` brings its agreement with the explainer along, where the target's logit was played for. Raises
    UserError for a name that is none.
    """
    names = [name.strip() for text in written for name in text.split(",")]
    for name in names:
        if name != EVERY_SUITE and name not in SUITES:
            raise UserError(f"--suite {name}: no such suite; there are {', '.join(SUITES)}, {EVERY_SUITE}")
    wanted = set(names)
    if EVERY_SUITE in wanted:
        wanted |= set(SUITES) - (set() if truth_is_known else {"truth"})
    if "causal" in wanted:
        wanted.add("causal-agreement")
    if target not in ("label", "predicted") and "causal-agreement" not in names:
        wanted.discard("causal-agreement")
    return [suite for name, suite in SUITES.items() if name in wanted]
