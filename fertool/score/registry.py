"""The suites there are, by name: what each is made from, how it scores a run and shows several."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.explain.registry import DEFAULT_EXPLAINER, Request, parse_request
from fertool.models.predictions import model_inputs
from fertool.score.evaluated_run import Columns, Figures, Subject
from fertool.score.perturbations.fills import FILLS
from fertool.score.results.face_csv import read_columns
from fertool.score.results.freshness import EXPLAINER_REVISION, is_outdated
from fertool.score.results.tables import Scores
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
from fertool.workspace import Run, Workspace


@dataclass(frozen=True)
class Asked:
    """What the caller of `score` wants to know."""

    request: Request = field(default_factory=lambda: parse_request(DEFAULT_EXPLAINER))
    target: str = "predicted"
    grid: int | None = None  # cells a side of a common pooled grid
    jitter: float = 0.0  # of the landmarks, in inter-ocular distances
    contrasts: tuple[str, ...] = attention_tables.CONTRASTS  # regions whose differences are tested
    fills: tuple[str, ...] = FILLS  # ways of covering a region
    reference: str | None = None  # the run whose corruption error is 100%
    seed: int = 0  # of samples and of what is drawn for a face
    tta: str | None = None  # test-time augmentation
    nulls: bool = True  # whether the suites that take long score the null maps as well


Compared = dict[str, Any]  # figures that only several runs together have, by what they are
ShowRuns = Callable[[list[Subject], Scores, dict[str, Columns], Asked], tuple[Compared, list[Table]]]


@dataclass(frozen=True)
class Suite:
    """A family of figures."""

    name: str
    of_heatmaps: bool  # whether its figures belong to an explainer and a target
    score: Callable[[Subject, Asked], tuple[Figures, Columns]]
    show: ShowRuns
    settings: Callable[[Asked], dict[str, Any]]  # what of the asked-for its figures depend on
    inputs: Callable[[Subject, Asked], list[Path]]  # the files that they are made from
    revision: int = 1  # raised when the same inputs would give other figures
    only_target: str | None = None  # of heatmaps: what they are of, whatever target is asked for
    beside: tuple[str, ...] = (".csv",)  # suffixes of what is stored beside the JSON

    def path(self, run: Run, split: str, asked: Asked) -> Path:
        """The JSON of a run's figures, there or not."""
        target = self.only_target or asked.target
        explained = (asked.request.key, target) if self.of_heatmaps else (None, None)
        return run.scores(self.name, split, *explained, self.settings(asked).get("grid"))

    def stored(self, run: Run, split: str) -> list[Path]:
        """The JSON files of a run that are there: one, or one an explainer and target."""
        of_heatmaps = f"*/{self.only_target or '*'}/{split}.json"
        return run.scored(self.name, of_heatmaps if self.of_heatmaps else f"{split}.json")

    def is_outdated(self, workspace: Workspace, run: Run, path: Path) -> bool:
        """Whether the figures of a run in `place`, that are there, would come out otherwise now."""
        return is_outdated(workspace, run, path, self.revision)


def _only_tables(tables: Callable[[Scores], list[Table]]) -> ShowRuns:
    return lambda subjects, scores, columns, asked: ({}, tables(scores))


# --- what figures are made from -----------------------------------------------------------------------------


def _explainer_and_target(asked: Asked) -> dict[str, Any]:
    request = asked.request
    settings = {"explainer": request.key, "target": asked.target if request.looks_at_target else "ignored"}
    # of the first one nothing is said: figures are older than this setting
    newer = {EXPLAINER_REVISION: request.explainer.revision} if request.explainer.revision > 1 else {}
    return settings | newer


def _nulls(asked: Asked) -> dict[str, Any]:
    return {} if asked.nulls else {"nulls": False}


def _prediction_files(subject: Subject, asked: Asked) -> list[Path]:
    subject.logits  # noqa: B018 (made now where there are none)
    of_model = model_inputs(subject.workspace, subject.run, subject.split)
    return [subject.run.predictions(subject.split), *of_model]


def _twin_files(subject: Subject, asked: Asked) -> list[Path]:
    return [*_prediction_files(subject, asked), subject.workspace.faces_csv("train")]


def _model_files(subject: Subject, asked: Asked) -> list[Path]:
    workspace, split = subject.workspace, subject.split
    masks = [workspace.region_maps(split), workspace.landmarks(split)]
    return [*masks, *_prediction_files(subject, asked)]


def _heatmap_files(subject: Subject, asked: Asked) -> list[Path]:
    return [subject.heatmaps(asked.request, asked.target).path, *_model_files(subject, asked)]


def _causal_columns(subject: Subject) -> Path:
    """What the suite causal has a face; UserError where it is not there, or of other faces, masks or weights."""
    record = subject.run.scores("causal", subject.split)
    path = record.with_suffix(".csv")
    if not path.exists():
        raise UserError(f"{path}: no such file; run 'fertool score --suite causal' for this run")
    if record.exists() and SUITES["causal"].is_outdated(subject.workspace, subject.run, record):
        raise UserError(
            f"{path}: of other faces, masks or weights, or by an older way of scoring; run 'fertool score --suite "
            "causal' again for this run"
        )
    return path


# --- suites that need more than a line ----------------------------------------------------------------------


def _show_classification(
    subjects: list[Subject], scores: Scores, columns: dict[str, Columns], asked: Asked
) -> tuple[Compared, list[Table]]:
    return classification.classification_tables(scores, columns, subjects[0].clusters)


def _show_attention(
    subjects: list[Subject], scores: Scores, columns: dict[str, Columns], asked: Asked
) -> tuple[Compared, list[Table]]:
    return attention_tables.attention_tables(scores, columns, subjects[0].clusters, asked.contrasts)


def _score_agreement(subject: Subject, asked: Asked) -> tuple[Figures, Columns]:
    causes = read_columns(_causal_columns(subject))
    return causal_agreement.score_causal_agreement(
        subject, asked.request, asked.target, causes, nulls=asked.nulls
    )


def _show_robustness(
    subjects: list[Subject], scores: Scores, columns: dict[str, Columns], asked: Asked
) -> tuple[Compared, list[Table]]:
    return {}, robustness.robustness_tables(scores, asked.reference)


def _score_representation(subject: Subject, asked: Asked) -> tuple[Figures, Columns]:
    figures, columns, features = representation.score_representation(subject)
    representation.write_features(subject, features)
    return figures, columns


def _show_representation(
    subjects: list[Subject], scores: Scores, columns: dict[str, Columns], asked: Asked
) -> tuple[Compared, list[Table]]:
    between, tables = representation.compare_stages(subjects)
    return {"cka": between}, [*representation.representation_tables(scores), *tables]


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in [
        Suite(
            name="classification",
            of_heatmaps=False,
            score=lambda subject, asked: classification.score_classification(subject, asked.tta),
            show=_show_classification,
            settings=lambda asked: {"tta_asked": asked.tta} if asked.tta else {},
            inputs=_twin_files,
            revision=3,
        ),
        Suite(
            name="attention",
            of_heatmaps=True,
            score=lambda subject, asked: attention.score_attention(
                subject, asked.request, asked.target, grid=asked.grid, jitter=asked.jitter
            ),
            show=_show_attention,
            settings=lambda asked: (
                _explainer_and_target(asked) | {"grid": asked.grid, "jitter": asked.jitter}
            ),
            inputs=_heatmap_files,
            revision=3,
        ),
        Suite(
            name="faithfulness",
            of_heatmaps=True,
            score=lambda subject, asked: faithfulness.score_faithfulness(
                subject, asked.request, asked.target, nulls=asked.nulls, seed=asked.seed
            ),
            show=_only_tables(faithfulness.faithfulness_tables),
            settings=lambda asked: _explainer_and_target(asked) | {"seed": asked.seed} | _nulls(asked),
            inputs=_heatmap_files,
            revision=2,
        ),
        Suite(
            name="causal",
            of_heatmaps=False,
            score=lambda subject, asked: causal.score_causal(subject, fills=asked.fills, seed=asked.seed),
            show=_only_tables(causal.causal_tables),
            settings=lambda asked: {"fills_asked": list(asked.fills), "seed": asked.seed},
            inputs=_model_files,
            revision=3,
        ),
        Suite(
            name="causal-agreement",
            of_heatmaps=True,
            score=_score_agreement,
            show=_only_tables(causal_agreement.causal_agreement_tables),
            settings=lambda asked: _explainer_and_target(asked) | _nulls(asked),
            inputs=lambda subject, asked: [*_heatmap_files(subject, asked), _causal_columns(subject)],
        ),
        Suite(
            name="robustness",
            of_heatmaps=False,
            score=lambda subject, asked: robustness.score_robustness(subject, seed=asked.seed),
            show=_show_robustness,
            settings=lambda asked: {"seed": asked.seed},
            inputs=_model_files,
            revision=2,
        ),
        Suite(
            name="robustness-attention",
            of_heatmaps=True,
            score=lambda subject, asked: robustness_attention.score_robustness_attention(
                subject, asked.request, asked.target, seed=asked.seed
            ),
            show=_only_tables(robustness_attention.robustness_attention_tables),
            settings=lambda asked: _explainer_and_target(asked) | {"seed": asked.seed},
            inputs=_model_files,
        ),
        Suite(
            name="sanity",
            of_heatmaps=True,
            score=lambda subject, asked: sanity.score_sanity(subject, asked.request, seed=asked.seed),
            show=_only_tables(sanity.sanity_tables),
            settings=lambda asked: (
                _explainer_and_target(replace(asked, target=sanity.TARGET)) | {"seed": asked.seed}
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
            settings=lambda asked: {},
            inputs=lambda subject, asked: [
                *_model_files(subject, asked),
                subject.workspace.faces("train"),
                subject.workspace.faces_csv("train"),
            ],
            revision=4,
            beside=(".csv", representation.FEATURES_SUFFIX),
        ),
        Suite(
            name="truth",
            of_heatmaps=True,
            score=lambda subject, asked: truth.score_truth(subject, asked.request, asked.target),
            show=_only_tables(truth.truth_tables),
            settings=_explainer_and_target,
            inputs=lambda subject, asked: [
                *_heatmap_files(subject, asked),
                *(path for path in [subject.workspace.truth(subject.split)] if path.exists()),
            ],
        ),
    ]
}
EVERY_SUITE = "all"


def chosen_suites(names: tuple[str, ...], target: str, truth_is_known: bool) -> list[Suite]:
    """The suites of these names, in their order; `all` are those that target and faces allow.

    `causal` brings its agreement with the explainer along, where the target's logit was played for. Raises
    UserError for a name that is none.
    """
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
