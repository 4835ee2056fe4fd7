"""Face diagrams: the mean face with its regions coloured by lift or by causal weight, on scales that all share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fertool.masks.regions import REGIONS, region_map
from fertool.report.evidence import Evidence
from fertool.report.figures.emotions import lift_colour
from fertool.report.first_screen import Cell, Row
from fertool.report.gallery.pictures import region_paths

SIDE = 192  # pixels that the regions of the mean face are drawn at
NOT_KNOWN = "#bbbbbb"


@dataclass(frozen=True)
class Diagram:
    """A condition's face: the colour of each region by measure, and what it says in words."""

    name: str
    colours: dict[str, dict[str, str]]  # by measure (lift, causal) and region
    words: dict[str, str]


@dataclass(frozen=True)
class FaceDiagrams:
    """The regions of the mean face as SVG paths, and a diagram for each condition."""

    paths: dict[str, str]
    diagrams: list[Diagram]
    most_causal: float  # the causal weight whose colour is the strongest, in percent


def face_diagrams(evidence: Evidence, rows: Sequence[Row]) -> FaceDiagrams | None:
    """A diagram for each row that is shown first; None where no region has a figure or no face landmarks."""
    shown = [row for row in rows if row.first or row.view is None]
    cells = [cell for row in shown for kind in ("lift", "causal") for cell in row.regions[kind].values()]
    mean_face = evidence.mean_face
    if mean_face is None or not any(cell.is_known for cell in cells):
        return None
    most = max(
        (cell.estimate.value for row in shown for cell in row.regions["causal"].values() if cell.estimate),
        default=0,
    )
    return FaceDiagrams(
        region_paths(region_map(mean_face.mean_landmarks * SIDE, (SIDE, SIDE))),
        [_diagram(row, most) for row in shown],
        100 * most,
    )


def _diagram(row: Row, most_causal: float) -> Diagram:
    lifts, weights = row.regions["lift"], row.regions["causal"]
    return Diagram(
        row.condition.name,
        {
            "lift": {region: lift_colour(_value(lifts[region])) for region in REGIONS},
            "causal": {region: _weight_colour(_value(weights[region]), most_causal) for region in REGIONS},
        },
        {"lift": _in_words("lift", lifts), "causal": _in_words("causal weight", weights)},
    )


def _value(cell: Cell) -> float:
    return cell.estimate.value if cell.estimate is not None else float("nan")


def _weight_colour(weight: float, most: float) -> str:
    """White for a weight of nothing, orange for the largest of all conditions."""
    if not np.isfinite(weight):
        return NOT_KNOWN
    part = min(max(weight / most, 0.0), 1.0) if most > 0 else 0.0
    return "#" + "".join(f"{round(255 + part * (end - 255)):02x}" for end in (0xD5, 0x5E, 0x00))


def _in_words(measure: str, cells: dict[str, Cell]) -> str:
    known = [f"{region} {cell.text('value')}" for region, cell in cells.items() if cell.is_known]
    return f"{measure}: {', '.join(known)}" if known else f"{measure}: not scored"
