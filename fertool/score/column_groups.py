"""Groups of faces by a column of faces/<split>.csv, by head pose or by brightness."""

from dataclasses import dataclass

import numpy as np

from fertool.errors import UserError
from fertool.score.column_request import ColumnRequest
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.head_pose import head_yaw_deg
from fertool.score.suites.robustness import BRIGHTNESS_LIMITS, YAW_LIMITS_DEG, brightness_of, strata

MOST_GROUPS = 10
HEAD_POSE, BRIGHTNESS = "head-pose", "brightness"


@dataclass(frozen=True)
class ColumnGroups:
    """The groups of a split's faces: `members` is bool (N,) by name; `said` says in words how they were made."""

    column: str
    members: dict[str, np.ndarray]
    said: str


def column_groups(evaluated: EvaluatedRun, request: ColumnRequest) -> ColumnGroups:
    """The groups of the faces; a face without a value is in none.

    Numbers fall between the given edges, else into terciles, and whole numbers of few values make a group each. Raises
    UserError for a column that there is not, that has one value alone or too many, and for edges of no numbers.
    """
    column, edges = request.column, request.edges
    workspace, split = evaluated.workspace, evaluated.split
    rows = workspace.load_face_rows(split)
    own = list(rows[0]) if rows else []
    if column in own:
        return _own_groups(request, [row[column].strip() for row in rows], str(workspace.faces_csv(split)))
    if column == HEAD_POSE:
        yaw = np.abs(np.where(evaluated.located, head_yaw_deg(evaluated.landmarks), np.nan))
        return _between(column, yaw, edges or YAW_LIMITS_DEG, "°", "yaw to either side, from the landmarks")
    if column == BRIGHTNESS:
        bright = brightness_of(evaluated.faces)
        return _between(column, bright, edges or BRIGHTNESS_LIMITS, "", "mean of the picture, 0 to 1")
    raise UserError(
        f"--by-column {column}: no such column in {workspace.faces_csv(split)}; there are "
        f"{', '.join([*own, HEAD_POSE, BRIGHTNESS])}"
    )


def _own_groups(request: ColumnRequest, texts: list[str], where: str) -> ColumnGroups:
    column, edges = request.column, request.edges
    known = {text for text in texts if text}
    numbers = _numbers(texts)
    if edges:
        if numbers is None:
            raise UserError(
                f"--by-column {column}: edges are for numbers, and {where} has others; leave them out"
            )
        return _between(column, numbers, edges, "", "between the given edges")
    few = len(known) <= MOST_GROUPS
    if numbers is not None and not (few and all(value.is_integer() for value in numbers[~np.isnan(numbers)])):
        limits = np.unique(np.nanquantile(numbers, [1 / 3, 2 / 3]))
        return _between(column, numbers, tuple(limits), "", "terciles of the split")
    if not 1 < len(known) <= MOST_GROUPS:
        raise UserError(
            f"--by-column {column}: {where} has {len(known):,} different values, and 2 to {MOST_GROUPS} make groups"
        )
    values = np.array(texts)
    order = sorted(known, key=float) if numbers is not None else sorted(known)
    return ColumnGroups(column, {name: values == name for name in order}, "a group for each value")


def _numbers(texts: list[str]) -> np.ndarray | None:
    """The texts as numbers, float64 (N,), nan for empty ones; None where one is no number, or all are empty."""
    try:
        numbers = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).any() and not np.isinf(numbers).any() else None


def _between(
    column: str, values: np.ndarray, limits: tuple[float, ...], unit: str, said: str
) -> ColumnGroups:
    members = {name: faces for name, faces in strata(values, limits, unit).items() if faces.any()}
    if len(members) < 2:
        raise UserError(f"--by-column {column}: all faces fall into one group; give edges, as {column}=18,60")
    return ColumnGroups(column, members, said)
