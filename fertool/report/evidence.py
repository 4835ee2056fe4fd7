"""The stored figures of a report's runs, read once, and the estimates that its sentences follow from.

Every estimate has a 95% interval over images and, with several seeds, over seeds; differences are paired over
images (`fertool.score.statistics.intervals`). No network is run here.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.report.conditions import Condition, conditions_of
from fertool.report.mean_face import MeanFace, find_mean_face
from fertool.report.views import View, main_view, views_of
from fertool.score.evaluated_run import Columns, cluster_faces
from fertool.score.gather import Gathered, find_stored, gather_scores
from fertool.score.guidance.effects import Estimate, Guidance, gather_guidance
from fertool.score.results.conditions import identities
from fertool.score.statistics.intervals import Resampled, difference_interval, resample_means
from fertool.score.statistics.scales import POSITIVE, UNBOUNDED, Scale
from fertool.score.suites.causal import causes_of
from fertool.score.suites.region_shares import areas_in, has_map, shares_in
from fertool.workspace import Run, Workspace


class Evidence:
    """The scores of some runs on a split."""

    def __init__(
        self, workspace: Workspace, split: str, runs: Sequence[Run], labels: dict[str, str] | None = None
    ) -> None:
        """`labels` are what the conditions of runs are to be called, by a run's name."""
        self.workspace, self.split = workspace, split
        self.dataset = workspace.dataset()
        self.classes: list[str] = self.dataset["classes"]
        self.runs = list(runs)
        names = _names(runs, labels or {})
        self.conditions = conditions_of(runs, names)
        current, self.outdated = find_stored(workspace, runs, split)
        self.gathered = gather_scores(workspace, runs, split, names, current)
        self.views = views_of(self.gathered)
        self._cache: dict[Any, Any] = {}

    @cached_property
    def labels(self) -> np.ndarray:
        """Class codes of the split's faces, int64 (N,)."""
        return self.workspace.load_labels(self.split)

    @cached_property
    def clusters(self) -> np.ndarray:
        """Faces that are not independent share a number, int64 (N,)."""
        return cluster_faces(self.workspace.load_twin_groups(self.split))

    @property
    def faces(self) -> int:
        """How many faces the split has."""
        return len(self.labels)

    @cached_property
    def mean_face(self) -> MeanFace | None:
        """The mean of the split's faces; None where none has landmarks of its own."""
        return find_mean_face(self.workspace, self.split)

    @cached_property
    def guidance(self) -> list[Guidance]:
        """The effects of guidance in each sweep among the runs."""
        return gather_guidance(self.workspace, self.runs, self.split)

    @cached_property
    def landmark_detectors(self) -> dict[str, int]:
        """How many of the split's faces each detector found, detectors without any left out."""
        if not self.workspace.masks_json.exists():
            return {}
        found = self.workspace.masks_record()["found"].get(self.split, {})
        called = {"drawn": "the synthetic faces' own geometry", "template": "none, the template's taken"}
        return {called.get(name, name): count for name, count in found.items() if count}

    def condition(self, name: str) -> Condition:
        """The condition of that name."""
        return next(condition for condition in self.conditions if condition.name == name)

    def suite(self, name: str, view: View | None = None) -> Gathered | None:
        """A suite's figures, for the explainer and target of a view where it has heatmaps; None without any."""
        for found in self.gathered:
            if found.suite.name != name or found.settings.grid is not None:
                continue
            fits_view = view is None or (
                found.settings.request.key == view.explainer
                and (found.suite.only_target is not None or found.settings.target == view.target)
            )
            if fits_view or not found.suite.explains:
                return found
        return None

    def views_with(self, condition: Condition) -> list[View]:
        """The views that a condition has maps in, null explanations left out."""
        return [view for view in self.views if condition.name in view.conditions and not view.is_null]

    def main_view(self, condition: Condition) -> View | None:
        """The view that a condition's figures are shown in first; None without attention."""
        return main_view(self.views, condition)

    def stored(self, found: Gathered | None, condition: Condition) -> list[dict[str, Any]]:
        """The JSON figures of those of a condition's runs that a suite has scored."""
        scores_by_run = {run["run"]: run for run in found.scores} if found else {}
        return [scores_by_run[name] for name in condition.run_names if name in scores_by_run]

    def most_accurate(self, conditions: Iterable[Condition]) -> list[Condition]:
        """Conditions, the most accurate first; those without an accuracy last."""

        def accuracy(condition: Condition) -> float:
            means = self.accuracy(condition)
            return float(means.figures[0]) if means is not None else -1.0

        return sorted(conditions, key=accuracy, reverse=True)

    # --- figures over images and seeds ------------------------------------------------------------------

    def accuracy(self, condition: Condition) -> Resampled | None:
        """Accuracy, then accuracy on the faces without a twin in train: two figures."""

        def values(columns: Columns) -> np.ndarray:
            correct = columns["correct"]
            return np.stack([correct, np.where(columns["twin_in_train"] == 1, np.nan, correct)], axis=1)

        return self._means("accuracy", self.suite("classification"), condition, values)

    def macro_f1(self, condition: Condition) -> Resampled | None:
        """The mean of the classes' F1, over classes that have faces."""
        classes = len(self.classes)

        def cells(columns: Columns) -> np.ndarray:
            codes = columns["label"] * classes + columns["predicted"]
            known = np.isfinite(codes)  # faces that are not in the sample have neither
            return np.where(known[:, None], codes[:, None] == np.arange(classes * classes), np.nan)

        def f1(means: np.ndarray) -> np.ndarray:
            matrix = means.reshape(*means.shape[:-1], classes, classes)
            true, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
            both = true + predicted
            hits = 2 * np.diagonal(matrix, axis1=-2, axis2=-1)
            f1_by_class = np.divide(hits, both, out=np.zeros_like(hits), where=both > 0)
            there = true > 0
            return (f1_by_class * there).sum(axis=-1, keepdims=True) / there.sum(axis=-1, keepdims=True)

        means = self._means("confusion", self.suite("classification"), condition, cells)
        return None if means is None else means.apply(f1)

    def shares(self, view: View, conditions: Sequence[Condition]) -> list[Resampled] | None:
        """Shares (6 figures) of each condition, over the faces that all of them have a map of."""
        return self._map_means(view, conditions, shares_in)

    def lifts(self, view: View, conditions: Sequence[Condition]) -> list[Resampled] | None:
        """Lifts (6 figures) of each condition, over the faces that all of them have a map of."""
        regions = len(REGIONS)

        def values(columns: Columns) -> np.ndarray:
            return np.concatenate([shares_in(columns), areas_in(columns)], axis=1)

        means = self._map_means(view, conditions, values)
        return means and [
            condition_means.apply(lambda both: both[..., :regions] / both[..., regions:])
            for condition_means in means
        ]

    def compared_faces(self, view: View) -> dict[str, int]:
        """How many faces stand behind a view's figures: those with a map of all its runs, and parts of them."""
        columns = [view.gathered.columns[run["run"]] for run in view.gathered.scores]
        counted = np.all([has_map(run_columns) for run_columns in columns], axis=0)
        parts = view.gathered.compared["comparisons"]
        return {"faces": int(counted.sum())} | {
            part: min(comparison["images"] for comparison in comparisons)
            for part, comparisons in parts.items()
            if part != "all faces"
        }

    def lifts_by_class(self, view: View, condition: Condition) -> dict[str, dict[str, Estimate]]:
        """A condition's lifts over the faces of each true class, by class and region; classes without faces are out."""
        classes, regions = len(self.classes), len(REGIONS)
        columns = [
            run_columns
            for run_columns in self.columns(view.gathered, condition)
            if has_map(run_columns).any()
        ]
        if not columns:
            return {}

        def values(run_columns: Columns) -> np.ndarray:
            both = np.concatenate([shares_in(run_columns), areas_in(run_columns)], axis=1)
            in_class = has_map(run_columns)[:, None] & (run_columns["label"][:, None] == np.arange(classes))
            return np.where(in_class[:, :, None], both[:, None], np.nan).reshape(len(both), -1)

        def lifts(means: np.ndarray) -> np.ndarray:
            both = means.reshape(*means.shape[:-1], classes, 2 * regions)
            ratio: np.ndarray = both[..., :regions] / both[..., regions:]
            return ratio.reshape(*means.shape[:-1], -1)

        means = resample_means(np.stack([values(run_columns) for run_columns in columns]), self.clusters)
        known = estimates(means.apply(lifts), POSITIVE)
        return {
            name: dict(zip(REGIONS, known[regions * code : regions * (code + 1)], strict=True))
            for code, name in enumerate(self.classes)
            if np.isfinite(known[regions * code].value)
        }

    def measure(self, view: View, name: str, conditions: Sequence[Condition]) -> list[Resampled] | None:
        """A measure of how the heat lies (entropy, extent), over the faces that all have a map of."""
        return self._map_means(view, conditions, lambda columns: columns[name][:, None])

    def map_faces(self, view: View, conditions: Sequence[Condition]) -> int:
        """The number of faces that shares, lifts and measures of these conditions are over."""
        return int(_have_maps([self.columns(view.gathered, condition) for condition in conditions]).sum())

    def _map_means(
        self, view: View, conditions: Sequence[Condition], values: Callable[[Columns], np.ndarray]
    ) -> list[Resampled] | None:
        """Means of values (N, K) of each condition, over the faces that all of them have a map of."""
        columns = [self.columns(view.gathered, condition) for condition in conditions]
        if not all(columns):
            return None
        counted = _have_maps(columns)
        if not counted.any():
            return None
        return [
            resample_means(
                np.stack(
                    [
                        np.where(counted[:, None], values(run_columns), np.nan)
                        for run_columns in condition_columns
                    ]
                ),
                self.clusters,
            )
            for condition_columns in columns
        ]

    def fills(self, condition: Condition) -> list[str]:
        """The ways of covering a region that all runs of a condition were scored with."""
        return _shared_fills(self.stored(self.suite("causal"), condition))

    def causal_weights(self, condition: Condition) -> Resampled | None:
        """How far the answers rest on each region (6 figures): Shapley values, means over the ways of covering."""
        fills = self.fills(condition)
        if not fills:
            return None

        def values(columns: Columns) -> np.ndarray:
            return _weights_of_faces(columns, fills)

        return self._means(("causal", tuple(fills)), self.suite("causal"), condition, values)

    def causal_faces(self, condition: Condition) -> int:
        """The number of faces that `causal_weights` is over: fewer than the split's where a sample was scored."""
        fills, found = self.fills(condition), self.suite("causal")
        counts = [
            int(np.isfinite(_weights_of_faces(columns, fills)[:, 0]).sum())
            for columns in (self.columns(found, condition) if fills else [])
        ]
        return min(counts, default=0)

    def causal_weights_by_run(self, condition: Condition) -> list[list[float]]:
        """As `causal_weights`, for each run of a condition by itself."""
        fills, found = self.fills(condition), self.suite("causal")
        return [
            np.nanmean([causes_of(columns, "answer", fill) for fill in fills], axis=(0, 1)).tolist()
            for columns in (self.columns(found, condition) if fills else [])
        ]

    def agreement_fills(self, view: View, condition: Condition) -> list[str]:
        """The ways of covering a region that the causal agreement of all runs of a condition was scored with."""
        return _shared_fills(self.stored(self.suite("causal-agreement", view), condition))

    def agreement(self, view: View, condition: Condition) -> Resampled | None:
        """The causal agreement within faces, mean over the ways of covering; -1 to 1."""
        columns = [f"told_{fill}" for fill in self.agreement_fills(view, condition)]
        if not columns:
            return None

        def values(run_columns: Columns) -> np.ndarray:
            return np.mean([run_columns[name] for name in columns], axis=0)[:, None]

        return self._means(("agreement", view.name), self.suite("causal-agreement", view), condition, values)

    def column_means(
        self, found: Gathered | None, condition: Condition, names: Sequence[str]
    ) -> Resampled | None:
        """The means of columns of a suite's CSV; None where a run lacks one."""
        columns = self.columns(found, condition) if found else None
        if not columns or any(name not in run_columns for run_columns in columns for name in names):
            return None
        return resample_means(
            np.stack([np.stack([run_columns[name] for name in names], axis=1) for run_columns in columns]),
            self.clusters,
        )

    def columns(self, found: Gathered | None, condition: Condition) -> list[Columns]:
        """The values a face of those of a condition's runs that a suite has scored."""
        columns_by_run = found.columns if found else {}
        return [columns_by_run[name] for name in condition.run_names if name in columns_by_run]

    def _means(
        self,
        key: Any,
        found: Gathered | None,
        condition: Condition,
        values: Callable[[Columns], np.ndarray],
    ) -> Resampled | None:
        if (key, condition.name) not in self._cache:
            columns = self.columns(found, condition)
            self._cache[key, condition.name] = (
                resample_means(np.stack([values(run_columns) for run_columns in columns]), self.clusters)
                if columns
                else None
            )
        means: Resampled | None = self._cache[key, condition.name]
        return means


def _names(runs: Sequence[Run], labels: dict[str, str]) -> dict[str, str]:
    """The name of each run's row: as in tables, or by the label that a run of its condition has."""
    known = {name: str(identity["label"]) for name, identity in identities(runs).items()}
    called = {known[run]: label for run, label in labels.items() if run in known}
    return {run: called.get(name, name) for run, name in known.items()}


def _have_maps(columns: Sequence[Sequence[Columns]]) -> np.ndarray:
    """Whether each face has a map of every run of every condition, bool (N,)."""
    return np.all([has_map(of_run) for of_condition in columns for of_run in of_condition], axis=0)


def _weights_of_faces(columns: Columns, fills: Sequence[str]) -> np.ndarray:
    """The causal weights of each face, (N, 6), means over the ways of covering; nan where a face was not scored."""
    return np.mean([causes_of(columns, "answer", fill) for fill in fills], axis=0)


def _shared_fills(known: Sequence[dict[str, Any]]) -> list[str]:
    return [fill for fill in known[0]["fills"] if all(fill in run["fills"] for run in known)] if known else []


def estimates(means: Resampled, scale: Scale = UNBOUNDED) -> list[Estimate]:
    """The figures with their intervals, which lie in the range of `scale`."""
    low, high = means.interval(scale)
    return [Estimate(*map(float, figure)) for figure in zip(means.figures, low, high, strict=True)]


def differences(one: Resampled, other: Resampled, scale: Scale = UNBOUNDED) -> list[Estimate]:
    """The figures, of a `scale`, of one less those of another on the same images, with their intervals."""
    low, high = difference_interval(one, other, scale)
    figures = zip(one.figures - other.figures, low, high, strict=True)
    return [Estimate(*map(float, figure)) for figure in figures]
