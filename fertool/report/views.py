"""Views of attention: an explainer's maps of one target, on their own grids or on a common one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fertool.explain.registry import stored_request
from fertool.masks.regions import REGIONS
from fertool.report.conditions import Condition
from fertool.score.gather import Gathered
from fertool.score.suites.region_share_tables import LOW_CEILING
from fertool.score.suites.shares import region_ceilings, region_weights

SAMPLED_FACES = 512  # for the ceilings of a grid that nothing is stored of


@dataclass(frozen=True)
class View:
    """The explainer and target of maps; `gathered` holds the figures of all runs that have them."""

    explainer: str
    target: str
    grid: int | None
    gathered: Gathered

    @property
    def name(self) -> str:
        """As `gradcam of the predicted class, on 7x7 cells`."""
        own = "" if self.grid is None else f", on {self.grid}x{self.grid} cells"
        return f"{self.explainer} of {target_in_words(self.target)}{own}"

    @property
    def conditions(self) -> list[str]:
        """The names of the conditions that it has maps of."""
        return list(self.gathered.compared["joint"])

    def faces_of(self, condition: Condition) -> int:
        """The fewest faces that a run of a condition has maps of, 0 where it has none."""
        runs = [run for run in self.gathered.scores if run["run"] in condition.run_names]
        return min((run["faces"] for run in runs), default=0)

    @property
    def own_grids(self) -> set[tuple[int, int]]:
        """The grids of its maps, as rows and columns."""
        return {(run["grid"][0], run["grid"][1]) for run in self.gathered.scores}

    @property
    def ceilings(self) -> dict[str, float]:
        """The lowest ceiling of each region over its runs; empty where no face could be scored."""
        known = [run["ceiling"] for run in self.gathered.scores if run["ceiling"]]
        return {region: min(ceiling[region] for ceiling in known) for region in REGIONS} if known else {}

    @property
    def is_null(self) -> bool:
        """Whether it is of a null explanation."""
        return stored_request(self.explainer).null is not None

    @property
    def is_fair(self) -> bool:
        """Whether its networks may be compared: their maps share a grid on which no ceiling is low."""
        ceilings = self.ceilings
        return len(self.own_grids) == 1 and bool(ceilings) and min(ceilings.values()) >= LOW_CEILING


def target_in_words(target: str) -> str:
    """A target of explanations as a reader says it."""
    known = {
        "predicted": "the predicted class",
        "label": "the labelled class",
        "ignored": "no class in particular",
    }
    return known.get(target, target)


def views_of(gathered: Sequence[Gathered]) -> list[View]:
    """The views that attention was scored in."""
    return [
        View(found.settings.request.key, found.settings.target, found.settings.grid, found)
        for found in gathered
        if found.suite.name == "attention"
    ]


def main_view(views: Sequence[View], condition: Condition) -> View | None:
    """The view that a condition's figures are shown in first.

    The explainer and target that most conditions have, among those the one with maps of most faces of this condition;
    on a common grid where the maps' own grids differ and one is stored on which every region's ceiling is at least
    LOW_CEILING, or which has more faces.
    """
    have = [view for view in views if condition.name in view.conditions and not view.is_null]
    if not have:
        return None
    coverage: dict[tuple[str, str], int] = {}
    for view in views:
        key = (view.explainer, view.target)
        coverage[key] = max(coverage.get(key, 0), len(view.conditions))
    chosen = max(
        have,
        key=lambda view: (
            coverage[view.explainer, view.target],
            view.faces_of(condition),
            view.target == "predicted",
            view.explainer,
            view.grid is None,
        ),
    )
    same = [view for view in have if (view.explainer, view.target) == (chosen.explainer, chosen.target)]
    fair = [view for view in same if view.grid is not None and view.is_fair]
    return fair[0] if len(chosen.own_grids) > 1 and fair else chosen


def recommended_grid(view: View, region_maps: np.ndarray) -> int | None:
    """The cells a side of a common grid for maps on unlike grids; None where any would hide a region.

    It is the coarsest of the maps' own, since a finer one would invent detail; on it each region's ceiling
    must be at least LOW_CEILING. `region_maps` are codes, uint8 (N, H, W).
    """
    side = min(side for grid in view.own_grids for side in grid)
    faces = np.asarray(region_maps[:SAMPLED_FACES])
    ceilings = region_ceilings(region_weights(faces, (side, side))).mean(axis=0)
    return side if ceilings.min() >= LOW_CEILING else None
