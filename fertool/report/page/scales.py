"""The scales of the small bars in the table of conditions: each column has one of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.report.first_screen import HEADINGS, MEASURES, Cell, Row


@dataclass(frozen=True)
class Scale:
    """A column's axis in the figures' own unit, and the level that a line marks on it."""

    low: float
    high: float
    level: float | None = None

    def style(self, cell: Cell) -> str:
        """The CSS variables of a cell's bar: value, lower limit, width of the interval, level; in percent."""
        if cell.estimate is None:
            return ""
        low, high = cell.estimate.low, cell.estimate.high
        positions = {"value": self._at(cell.estimate.value)}
        if cell.has_interval:
            positions |= {"low": self._at(low), "width": self._at(high) - self._at(low)}
        if self.level is not None:
            positions["level"] = self._at(self.level)
        return "; ".join(f"--{name}: {position:.1f}%" for name, position in positions.items())

    def _at(self, value: float) -> float:
        return 100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def scales_of(rows: Sequence[Row]) -> dict[str, Scale]:
    """The scale of each column, by its key; of the region columns by measure and region, as `lift eyes`."""
    scales = {key: _scale([row.cells[key] for row in rows]) for key in HEADINGS}
    for measure in MEASURES:
        for region in REGIONS:
            cells = [row.regions[measure][region] for row in rows]
            scales[f"{measure} {region}"] = _scale(cells, 1.0 if measure == "lift" else None)
    return scales


def _scale(cells: Sequence[Cell], level: float | None = None) -> Scale:
    """From 0, or the lowest limit where that is below, to the highest; the level lies on it."""
    known = [cell.estimate for cell in cells if cell.estimate is not None]
    limits = [limit for estimate in known for limit in (estimate.value, estimate.low, estimate.high)]
    limits = [limit for limit in [*limits, level or 0.0] if np.isfinite(limit)]
    low, high = min(0.0, *limits), max(0.0, *limits)
    return Scale(low, high if high > low else low + 1, level)
