"""Chance levels: what a figure would be if the map, or the model, knew nothing.

Maps are compared with the null explanations on the same faces. A blob in the middle (null `centre`) looks at
no model and no face, and gets much of what is taken for attention to nose and mouth, so a region's share counts
as shown only where it is above the blob's. Its shares follow from the region maps alone and are made here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fertool.explain.methods.nulls import NULLS, centre
from fertool.masks.regions import REGIONS
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence, differences, estimates
from fertool.report.views import View
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.scales import CORRELATION, PROPORTION
from fertool.score.suites.region_shares import has_map, shares_in
from fertool.score.suites.shares import pooled, shares_and_ceilings

NOT_ABOVE_BLOB = "not above a blob in the middle"
FAITHFULNESS_COLUMN = "road"  # the measure that nulls are compared by


def centre_shares(region_maps: np.ndarray, grid: int | None = None) -> np.ndarray:
    """The shares of a blob in the middle, float64 (N, 6), on its own pixels or brought to `grid` cells a side.

    `region_maps` are codes, uint8 (N, H, W).
    """
    blank = np.zeros((1, *region_maps.shape[1:3]), np.uint8)
    blob = centre(blank, np.zeros(1, np.int64), np.zeros((1, 1, 1), np.float32))
    if grid is not None:
        blob = pooled(blob, grid)
    everywhere = np.broadcast_to(blob, (len(region_maps), *blob.shape[1:]))
    (shares,), _ = shares_and_ceilings([everywhere], np.asarray(region_maps))
    return shares


@dataclass(frozen=True)
class Chance:
    """How a condition's maps in a view compare with maps that know nothing."""

    beyond_blob: dict[str, Estimate]  # of each region: its share less the blob's
    # nulls that ROAD, and that causal agreement, does not put it above; None: not scored, or without any null
    not_faithful_beyond: list[str] | None
    no_agreement_beyond: list[str] | None

    def is_above_blob(self, region: str) -> bool:
        """Whether a region's share is shown to be above that of a blob in the middle."""
        return self.beyond_blob[region].direction == 1


class ChanceLevels:
    """The chance levels of a report's figures; what is made is made once."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._blob: dict[int | None, np.ndarray] = {}
        self._known: dict[tuple[str, str], Chance | None] = {}

    def compare(self, condition: Condition, view: View) -> Chance | None:
        """How a condition's maps compare with the nulls; None where no face has a map."""
        key = (condition.name, view.name)
        if key not in self._known:
            self._known[key] = self._compare(condition, view)
        return self._known[key]

    def is_trusted(self, condition: Condition) -> bool:
        """Whether a condition's accuracy is shown to be above guessing; where it is not, no map of it means a thing."""
        accuracy = self.evidence.accuracy(condition)
        return accuracy is None or not is_like_guessing(
            estimates(accuracy, PROPORTION)[0], self.evidence.labels
        )

    def _compare(self, condition: Condition, view: View) -> Chance | None:
        beyond = self._beyond_blob(condition, view)
        if beyond is None:
            return None
        return Chance(beyond, self._not_faithful(condition, view), self._no_agreement(condition, view))

    def beyond_blob_by_class(self, condition: Condition, view: View) -> dict[str, dict[str, Estimate]]:
        """A condition's shares less the blob's over the faces of each true class, by class and region."""
        beyond = self._shares_beyond_blob(condition, view)
        if beyond is None:
            return {}
        in_class = self.evidence.labels[:, None] == np.arange(len(self.evidence.classes))
        values = np.where(in_class[..., None], beyond[:, :, None], np.nan)
        means = resample_means(values.reshape(*beyond.shape[:2], -1), self.evidence.clusters)
        known = iter(estimates(means))
        return {name: {region: next(known) for region in REGIONS} for name in self.evidence.classes}

    def _beyond_blob(self, condition: Condition, view: View) -> dict[str, Estimate] | None:
        beyond = self._shares_beyond_blob(condition, view)
        if beyond is None:
            return None
        means = resample_means(beyond, self.evidence.clusters)
        return dict(zip(REGIONS, estimates(means), strict=True))

    def _shares_beyond_blob(self, condition: Condition, view: View) -> np.ndarray | None:
        """Each run's shares less the blob's, (S, N, 6); nan on a face without a map of all runs, None without any."""
        columns = self.evidence.columns(view.gathered, condition)
        if not columns:
            return None
        counted = np.all([has_map(run_columns) for run_columns in columns], axis=0)
        if not counted.any():
            return None
        if view.grid not in self._blob:
            regions = self.evidence.workspace.load_region_maps(self.evidence.split)
            self._blob[view.grid] = centre_shares(regions, view.grid)
        beyond = [shares_in(run_columns) - self._blob[view.grid] for run_columns in columns]
        return np.where(counted[:, None], np.stack(beyond), np.nan)

    def _not_faithful(self, condition: Condition, view: View) -> list[str] | None:
        found = self.evidence.suite("faithfulness", view)
        own = self.evidence.column_means(found, condition, [FAITHFULNESS_COLUMN])
        if own is None:
            return None
        known = {
            null: means
            for null in NULLS
            if (means := self.evidence.column_means(found, condition, [f"{FAITHFULNESS_COLUMN}_{null}"]))
        }
        if not known:  # scored without nulls: nothing to be above
            return None
        return [null for null, means in known.items() if differences(own, means)[0].direction != 1]

    def _no_agreement(self, condition: Condition, view: View) -> list[str] | None:
        """Nulls whose agreement is not below the map's.

        Values a face are stored of the explainer alone, so that nothing is paired: the map counts as above a
        null where the lowest limit of its correlations is above the null's correlation.
        """
        known = self.evidence.stored(self.evidence.suite("causal-agreement", view), condition)
        own = self.evidence.agreement(view, condition)
        fills = self.evidence.agreement_fills(view, condition)
        if not known or own is None:
            return None
        (estimate,) = estimates(own, CORRELATION)
        compared, below = False, []
        for null in NULLS:
            correlations = [
                by_null[null][run["compared_with"]]["within"]["correlation"]
                for run in known
                for fill in fills
                if null in (by_null := run["fills"][fill])
            ]
            values = [value for value in correlations if value is not None]
            compared = compared or bool(values)
            if values and not estimate.low > np.mean(values):
                below.append(null)
        return below if compared else None


def guessing_accuracy(labels: np.ndarray) -> float:
    """The accuracy of answering with the most frequent class: what a model must beat to have learned anything."""
    return float(np.bincount(labels).max() / len(labels))


def is_like_guessing(accuracy: Estimate, labels: np.ndarray) -> bool:
    """Whether an accuracy is not shown to be above guessing."""
    return not accuracy.low > guessing_accuracy(labels)


def lifts_are_all_one(lifts: Sequence[Estimate]) -> bool:
    """Whether every region's lift has 1 within its interval: a map that does not know the face."""
    return all(lift.low <= 1 <= lift.high for lift in lifts)
