"""Effects of attention guidance: figures over lambda, from the scores that the runs of a sweep have stored.

The question is whether guidance moved what the model does or only what its heatmap shows. So the heatmaps'
background share, by the explainer that guided and by others that did not, stands beside the causal weight of the
background, and both beside the placebo. Causal weight is how far the model's answers, right or wrong, rest on the
background, when it is covered or swapped (suite `causal`). The background's worth to accuracy
is no such weight: it is below 0 where the background misleads, and rises as the model turns away from
it. No network is run; a figure that is not stored for every seed of a condition is not known.

The causal weights phi_r of the six regions, their Shapley values for keeping the answer, add up to
1 - v(nothing seen): how often the answer is another one when all is covered. A network that gives nearly every face
the same answer, covered ones too, has them all small, and nothing of it is guidance away from the background. So
beside the background's weight stands its part of all,

    causal part = mean(phi_background) / sum over the six regions r of mean(phi_r)

means over the faces, of each run: of weights that shrink alike it is the same as before.

A network can also empty its maps. The share of the background is that of the maps that are not empty. The
explainer that guided has as well the one by which lambda is chosen (`guide_weights.background_share`),

    share of all maps = mean over the faces of the share, or 1 where the map is empty
                      = empty + (1 - empty) share
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.explain.registry import stored_request
from fertool.masks.regions import BACKGROUND, REGIONS
from fertool.runtime.files import read_json
from fertool.score.evaluated_run import Columns, cluster_faces
from fertool.score.guidance.sweeps import OWN, SHUFFLED, Condition, Sweep, find_sweeps
from fertool.score.perturbations.corruptions import SEVERITIES
from fertool.score.registry import SUITES
from fertool.score.results.face_csv import read_columns
from fertool.score.statistics.intervals import Limits, Resampled, difference_interval, resample_means
from fertool.score.statistics.scales import CORRELATION, POSITIVE, PROPORTION, UNBOUNDED, Scale
from fertool.score.suites.causal import SWAP_CHANGED_COLUMN, SWAP_LOSS_COLUMN, cause_column
from fertool.score.suites.region_shares import area_column, has_map, share_column
from fertool.workspace import Run, Workspace


@dataclass(frozen=True)
class Kind:
    """A kind of measure, and how it is written."""

    name: str
    table: str  # its title
    scale: float = 100
    digits: int = 1
    range: Scale = PROPORTION  # where the figure can lie


MODEL, MAPS = "the model", "the maps"
LIFTS = "lift by {variant}"  # in detail, as are those that follow
ACCURACIES, LOGITS = "worth of the background to accuracy", "worth of the background to the label's logit"

ACCURACY = Kind("accuracy", MODEL)
CORRUPTION_ERROR = Kind("mCE", MODEL, range=POSITIVE)
CAUSAL_WEIGHT = Kind(
    "causal weight", MODEL, range=CORRELATION
)  # from -1 to 1, as all Shapley values of 0 and 1
CAUSAL_PART = Kind("causal part", MODEL, range=UNBOUNDED)  # weights below 0 make parts above 1
SWAP_CHANGED = Kind("changed by swap", MODEL)
SHARE = Kind("background share", MAPS)
SHARE_OF_ALL = Kind("background share of all maps", MAPS)
EMPTY = Kind("empty maps", MAPS)
ROAD = Kind("ROAD", MAPS, range=CORRELATION)  # half a difference of probabilities
LIFT = Kind("lift", LIFTS, scale=1, digits=2, range=POSITIVE)
ACCURACY_WORTH = Kind("background worth", ACCURACIES, range=CORRELATION)
SWAP_LOSS = Kind("swap loss", ACCURACIES, range=CORRELATION)
LOGIT_WORTH = Kind("background worth, logit", LOGITS, scale=1, digits=2, range=UNBOUNDED)

Figure = Callable[[np.ndarray], np.ndarray]  # means (..., K) of a measure's columns -> (..., 1)

LEAST_WEIGHT = 1e-5  # of all regions together; less is what rounding leaves of none


def _as_it_is(means: np.ndarray) -> np.ndarray:
    return means


@dataclass(frozen=True)
class Measure:
    """One figure, and where runs have it stored."""

    kind: Kind
    variant: str  # an explainer or a fill; empty where the kind says it all
    suite: str
    columns: tuple[str, ...]  # its values a face
    figure: Figure = _as_it_is
    explainer: str | None = None
    target: str | None = None
    region: str | None = None

    @property
    def name(self) -> str:
        """Unique in a sweep, as `background share, gradcam`."""
        return ", ".join(part for part in (self.kind.name, self.variant, self.region) if part)

    @property
    def table(self) -> str:
        """The title of the table that it stands in."""
        return self.kind.table.format(variant=self.variant)

    @property
    def column(self) -> str:
        """The heading of its column there."""
        called = {LIFTS: self.region, ACCURACIES: self.variant, LOGITS: self.variant}
        return called.get(self.kind.table) or self.name.removeprefix("background ")

    def path(self, run: Run, split: str) -> Path:
        """The JSON that it stands in, there or not."""
        return run.scores(self.suite, split, self.explainer, self.target)

    def is_stored(self, workspace: Workspace, run: Run, split: str) -> bool:
        """Whether it is there, and not outdated."""
        path = self.path(run, split)
        there = path.exists() and path.with_suffix(".csv").exists()
        return there and not SUITES[self.suite].is_outdated(workspace, run, path)


def _measures(workspace: Workspace, sweep: Sweep, split: str) -> list[Measure]:
    """All that any run of the sweep has stored, in the order of tables: the guiding explainer's first."""
    runs = [run for condition in sweep.conditions for run in condition.runs]
    measures = [Measure(ACCURACY, "", "classification", ("correct",))]
    corruptions, errors = _reference_errors(workspace, sweep.unguided, split)
    if corruptions:
        columns = tuple(f"right_{name}" for name in corruptions)
        mean_error = partial(_mean_corruption_error, reference=errors)
        measures.append(Measure(CORRUPTION_ERROR, "", "robustness", columns, mean_error))
    causal = [read_json(stored.path) for run in runs for stored in SUITES["causal"].stored(run, split)]
    fills = list(dict.fromkeys(fill for record in causal for fill in record["fills"]))
    measures += [_background_measure(CAUSAL_WEIGHT, fill, "answer") for fill in fills]
    measures += [
        Measure(
            CAUSAL_PART,
            fill,
            "causal",
            tuple(cause_column("answer", fill, region) for region in REGIONS),
            _part_of_background,
        )
        for fill in fills
    ]
    measures += [Measure(SWAP_CHANGED, "", "causal", (SWAP_CHANGED_COLUMN,))] if causal else []
    attention_labels = _explained(runs, "attention", split, sweep.explainer)
    share = share_column(REGIONS[BACKGROUND])
    kinds: list[tuple[Kind, tuple[str, ...], Figure]] = [
        (SHARE, (share,), _as_it_is),
        (SHARE_OF_ALL, (share, "empty"), _share_of_all_maps),
        (EMPTY, ("empty",), _as_it_is),
    ]
    for kind, columns, figure in kinds:
        measures += [
            Measure(kind, label, "attention", columns, figure, explainer, target)
            for (explainer, target), label in attention_labels.items()
            if kind is not SHARE_OF_ALL or explainer == sweep.explainer
        ]
    measures += [
        Measure(ROAD, label, "faithfulness", ("road",), explainer=explainer, target=target)
        for (explainer, target), label in _explained(runs, "faithfulness", split, sweep.explainer).items()
    ]
    for (explainer, target), label in attention_labels.items():
        for region in REGIONS:
            columns = (share_column(region), area_column(region))
            measures.append(
                Measure(LIFT, label, "attention", columns, _ratio, explainer, target, region=region)
            )
    measures += [_background_measure(ACCURACY_WORTH, fill, "correct") for fill in fills]
    measures += [Measure(SWAP_LOSS, "", "causal", (SWAP_LOSS_COLUMN,))] if causal else []
    return measures + [_background_measure(LOGIT_WORTH, fill, "label") for fill in fills]


def _background_measure(kind: Kind, fill: str, target: str) -> Measure:
    return Measure(kind, fill, "causal", (cause_column(target, fill, REGIONS[BACKGROUND]),))


def _explained(runs: Sequence[Run], suite: str, split: str, guiding: str) -> dict[tuple[str, str], str]:
    """Explainers and targets that a suite is stored for, with the word for each; null maps are left out."""
    pairs = {
        (stored.explainer, stored.target)
        for run in runs
        for stored in run.stored_scores(split)
        if stored.suite == suite and stored.grid is None and stored.explainer and stored.target
    }
    shown = [pair for pair in pairs if stored_request(pair[0]).null is None]
    shown.sort(key=lambda pair: (pair[0] != guiding, pair[0], pair[1] != "predicted", pair[1]))
    targets = {target for _, target in shown}
    return {
        (explainer, target): explainer if targets == {"predicted"} else f"{explainer} of {target}"
        for explainer, target in shown
    }


def is_of(key: str, explainer: str) -> bool:
    """Whether `key`, an explainer with its options, is of this explainer."""
    return stored_request(key).explainer.name == explainer


def _ratio(means: np.ndarray) -> np.ndarray:
    return means[..., :1] / means[..., 1:]


def _part_of_background(means: np.ndarray) -> np.ndarray:
    """The background's part of causal weights (..., regions); nan where answers rest on nothing."""
    whole = means.sum(axis=-1, keepdims=True)
    return means[..., [BACKGROUND]] / np.where(whole > LEAST_WEIGHT, whole, np.nan)


def _share_of_all_maps(means: np.ndarray) -> np.ndarray:
    """Share of all maps, from the share of those not empty and the part that is empty (..., 2)."""
    share, empty = means[..., :1], means[..., 1:]
    return np.where(np.isnan(share), empty, empty + (1 - empty) * share)


def _mean_corruption_error(means: np.ndarray, *, reference: np.ndarray) -> np.ndarray:
    """The mean over corruptions of errors over the reference's, from severities passed (..., corruptions)."""
    return ((1 - means / SEVERITIES) / reference).mean(axis=-1, keepdims=True)


def _reference_errors(
    workspace: Workspace, unguided: Condition | None, split: str
) -> tuple[list[str], np.ndarray]:
    """Corruptions and lambda 0's error under each, the mean over severities and seeds; none where not stored."""
    measure = Measure(CORRUPTION_ERROR, "", "robustness", ())
    runs = unguided.runs if unguided else []
    if not runs or not all(measure.is_stored(workspace, run, split) for run in runs):
        return [], np.empty(0)
    stored = [read_json(measure.path(run, split))["corruptions"] for run in runs]
    names = [
        name
        for name, figures in stored[0].items()
        if all(name in run and run[name]["faces"] for run in stored)
    ]
    return names, np.array([np.mean([run[name]["error"] for run in stored]) for name in names])


# --- figures and their differences --------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A figure or a difference, with its 95% interval; nan where it is not known."""

    value: float
    low: float
    high: float

    @property
    def direction(self) -> int | None:
        """-1 or 1 where the interval lies on one side of 0, 0 where it holds it, None where there is none."""
        if not np.isfinite([self.value, self.low, self.high]).all():
            return None
        return -1 if self.high < 0 else int(self.low > 0)


Estimates = dict[str, Estimate]  # by the name of the measure


@dataclass(frozen=True)
class Outcome:
    """The figures of a condition, and their differences from others."""

    condition: Condition
    figures: Estimates
    change: Estimates  # less lambda 0's; nothing at lambda 0 itself, and where there is none
    beyond_placebo: Estimates  # own masks only: less those of shuffled masks at the same lambda


@dataclass(frozen=True)
class Guidance:
    """A sweep on a split: its figures in the order of its conditions."""

    sweep: Sweep
    split: str
    measures: list[Measure]  # those that at least one condition has
    outcomes: list[Outcome]

    @property
    def shown(self) -> list[Measure]:
        """The measures of tables and figures: where no map is empty the share of all maps is the share."""
        return [
            measure
            for measure in self.measures
            if measure.kind != SHARE_OF_ALL
            or any(outcome.figures[replace(measure, kind=EMPTY).name].value > 0 for outcome in self.outcomes)
        ]


def gather_guidance(workspace: Workspace, runs: Sequence[Run], split: str) -> list[Guidance]:
    """The effects of guidance in each sweep among runs, from the scores on a split that they have stored.

    Outdated ones are left out. Raises UserError where stored values are of other faces than the workspace has now.
    """
    sweeps = find_sweeps(runs)
    if not sweeps:
        return []
    clusters = cluster_faces(workspace.load_twin_groups(split))
    return [_sweep_guidance(workspace, sweep, split, clusters) for sweep in sweeps]


def _sweep_guidance(workspace: Workspace, sweep: Sweep, split: str, clusters: np.ndarray) -> Guidance:
    measures = _measures(workspace, sweep, split)
    resampled = {
        condition: _resampled(workspace, condition, measures, split, clusters)
        for condition in sweep.conditions
    }
    placebos = {condition.weight: condition for condition in resampled if condition.masks == SHUFFLED}
    outcomes = []
    for condition, condition_values in resampled.items():
        change, beyond_placebo = {}, {}
        if sweep.unguided is not None and condition.masks is not None:
            change = _differences(measures, condition_values, resampled[sweep.unguided])
        if condition.masks == OWN and condition.weight in placebos:
            beyond_placebo = _differences(measures, condition_values, resampled[placebos[condition.weight]])
        ranges = [measure.kind.range for measure in measures]
        figures = _estimates(measures, condition_values.figures, condition_values.interval(ranges))
        outcomes.append(Outcome(condition, figures, change, beyond_placebo))
    known = [
        measure
        for measure in measures
        if any(np.isfinite(outcome.figures[measure.name].value) for outcome in outcomes)
    ]
    return Guidance(sweep, split, known, outcomes)


def _resampled(
    workspace: Workspace, condition: Condition, measures: Sequence[Measure], split: str, clusters: np.ndarray
) -> Resampled:
    """The measures (S, M) of the condition's seeds; nan for a measure that a seed has not stored."""
    values = np.stack(
        [_face_values(workspace, run, measures, split, len(clusters)) for run in condition.runs]
    )

    def figures(means: np.ndarray) -> np.ndarray:
        parts, start = [], 0
        for measure in measures:
            end = start + len(measure.columns)
            parts.append(measure.figure(means[..., start:end]))
            start = end
        return np.concatenate(parts, axis=-1)

    return resample_means(values, clusters).apply(figures)


def _face_values(
    workspace: Workspace, run: Run, measures: Sequence[Measure], split: str, faces: int
) -> np.ndarray:
    """The measures' columns side by side, float64 (N, K); nan where a face does not count or none are stored."""
    read: dict[Path, Columns] = {}
    nothing = np.full(faces, np.nan)
    columns = []
    for measure in measures:
        path = measure.path(run, split).with_suffix(".csv")
        if path not in read:
            known = measure.is_stored(workspace, run, split)
            read[path] = _counted(read_columns(path)) if known else {}
            rows = len(next(iter(read[path].values()), nothing))
            if rows != faces:
                raise UserError(
                    f"{path}: {rows:,} rows, but '{split}' has {faces:,} faces; run 'fertool score' again"
                )
        columns += [read[path].get(name, nothing) for name in measure.columns]
    return np.stack(columns, axis=1)


def _counted(columns: Columns) -> Columns:
    """Columns of the suite attention, nan for faces without landmarks of their own and for shares of empty maps."""
    if "empty" not in columns:
        return columns
    located, full = columns["located"] == 1, has_map(columns)
    return {
        name: np.where(located if name == "empty" else full, values, np.nan)
        for name, values in columns.items()
    }


def _differences(measures: Sequence[Measure], one: Resampled, other: Resampled) -> Estimates:
    ranges = [measure.kind.range for measure in measures]
    limits = difference_interval(one, other, ranges)
    return _estimates(measures, one.figures - other.figures, limits)


def _estimates(measures: Sequence[Measure], values: np.ndarray, limits: Limits) -> Estimates:
    return {
        measure.name: Estimate(float(value), float(low), float(high))
        for measure, value, low, high in zip(measures, values, *limits, strict=True)
    }
