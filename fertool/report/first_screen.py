"""The table of conditions: what a reader sees first, each figure with its interval and beside its chance level."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fertool.masks.regions import REGIONS
from fertool.report.chance import NOT_ABOVE_BLOB, ChanceLevels
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence, estimates
from fertool.report.views import View
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.intervals import Resampled
from fertool.score.statistics.scales import CORRELATION, PROPORTION
from fertool.score.suites.region_share_tables import FEW_FACES, LOW_CEILING

SIGNIFICANT = 0.05
MEASURES = {"lift": "lift", "share": "share, %", "causal": "causal weight, %"}
HEADINGS = {
    "accuracy": "accuracy, %",
    "macro_f1": "macro F1, %",
    "without_twins": "accuracy without twins, %",
    "agreement": "causal agreement",
}


@dataclass(frozen=True)
class Cell:
    """A figure of the table; `mark` says why not to read more into it, `differs` names rows that it differs from."""

    estimate: Estimate | None
    scale: float = 100
    digits: int = 1
    mark: str = ""  # chance: not above the nulls; ceiling: not to be read
    note: str = ""  # the mark in words
    differs: tuple[str, ...] = ()  # letters of conditions, by a declared contrast

    @property
    def is_known(self) -> bool:
        """Whether there is a figure."""
        return self.estimate is not None and self.estimate.value == self.estimate.value

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval as well."""
        return self.estimate is not None and self.estimate.direction is not None

    def text(self, which: str) -> str:
        """The figure's `value`, `low` or `high` as it is shown."""
        return f"{self.scale * getattr(self.estimate, which):.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """A condition in a view; `first` says whether it is the view that the condition is shown in first."""

    condition: Condition
    view: View | None
    first: bool
    cells: dict[str, Cell]
    regions: dict[str, dict[str, Cell]] = field(default_factory=dict)  # by measure and region


def first_screen(evidence: Evidence, chance: ChanceLevels) -> list[Row]:
    """A row for each condition and each view of its maps, in the order of conditions."""
    rows = []
    for condition in evidence.conditions:
        model_cells = _model_cells(evidence, condition)
        main = evidence.main_view(condition)
        weights = _region_cells(evidence.causal_weights(condition))
        views: Sequence[View | None] = evidence.views_with(condition) or [None]
        for view in views:
            regions = {**_map_cells(evidence, chance, condition, view), "causal": weights}
            agreement = _agreement_cell(evidence, chance, condition, view)
            rows.append(Row(condition, view, view is main, model_cells | {"agreement": agreement}, regions))
    return rows


def _model_cells(evidence: Evidence, condition: Condition) -> dict[str, Cell]:
    accuracy, f1 = evidence.accuracy(condition), evidence.macro_f1(condition)
    overall, without_twins = estimates(accuracy, PROPORTION) if accuracy is not None else (None, None)
    return {
        "accuracy": Cell(overall),
        "macro_f1": Cell(estimates(f1, PROPORTION)[0] if f1 is not None else None),
        "without_twins": Cell(without_twins),
    }


def _region_cells(means: Resampled | None) -> dict[str, Cell]:
    known = estimates(means) if means is not None else [None] * len(REGIONS)
    return {region: Cell(estimate) for region, estimate in zip(REGIONS, known, strict=True)}


def _map_cells(
    evidence: Evidence, chance: ChanceLevels, condition: Condition, view: View | None
) -> dict[str, dict[str, Cell]]:
    """The cells of share and lift; the figures are over the faces that all runs of the view have a map of."""
    joint = view.gathered.compared["joint"][condition.name]["figures"] if view else None
    compared = chance.compare(condition, view) if view else None
    if view is None or joint is None or compared is None:
        empty = {region: Cell(None) for region in REGIONS}
        return {"share": empty, "lift": empty}
    ceilings = evidence.stored(view.gathered, condition)[0]["ceiling"]
    differs = differing_rows(evidence, view, condition)
    cells: dict[str, dict[str, Cell]] = {"share": {}, "lift": {}}
    for region in REGIONS:
        mark, note = "", ""
        if ceilings[region] < LOW_CEILING:
            mark = "ceiling"
            note = f"do not read: no map on this grid can give the region more than {ceilings[region]:.0%}"
        elif not compared.is_above_blob(region):
            mark, note = "chance", NOT_ABOVE_BLOB
        for kind, scale, digits in (("share", 100, 1), ("lift", 1, 2)):
            estimate = Estimate(joint[kind][region], *_limits(joint[f"{kind}_interval"][region]))
            letters = differs.get(region, ()) if kind == "share" else ()
            cells[kind][region] = Cell(estimate, scale, digits, mark, note, letters)
    return cells


def _limits(interval: Sequence[float | None]) -> tuple[float, float]:
    low, high = (float("nan") if limit is None else limit for limit in interval)
    return low, high


def differing_rows(evidence: Evidence, view: View, condition: Condition) -> dict[str, tuple[str, ...]]:
    """The letters of the conditions that each region's share differs from, by the declared contrasts.

    A difference counts where its Holm-corrected p-value is below SIGNIFICANT and its interval does not hold 0; none
    does over fewer than FEW_FACES faces, or where the maps lie on unlike grids.
    """
    comparisons = view.gathered.compared["comparisons"].get("all faces", [])
    found: dict[str, list[str]] = {}
    if len(view.own_grids) > 1:
        return {}
    for comparison in comparisons:
        if condition.name not in comparison["names"] or comparison["images"] < FEW_FACES:
            continue
        other = next(name for name in comparison["names"] if name != condition.name)
        for contrast in comparison["contrasts"]:
            holds_zero = contrast["low"] <= 0 <= contrast["high"]
            if contrast["p_holm"] < SIGNIFICANT and not holds_zero:
                region = REGIONS[contrast["region"]]
                found.setdefault(region, []).append(evidence.condition(other).letter)
    return {region: tuple(sorted(letters)) for region, letters in found.items()}


def _agreement_cell(
    evidence: Evidence, chance: ChanceLevels, condition: Condition, view: View | None
) -> Cell:
    means = evidence.agreement(view, condition) if view else None
    compared = chance.compare(condition, view) if view else None
    if means is None or compared is None:
        return Cell(None)
    below = compared.no_agreement_beyond
    mark, note = ("chance", f"not above the null {', '.join(below)}") if below else ("", "")
    return Cell(estimates(means, CORRELATION)[0], scale=1, digits=2, mark=mark, note=note)
