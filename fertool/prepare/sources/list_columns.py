"""The columns of a list: which one is the path, the label, the split, the person, the box."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fertool.errors import UserError
from fertool.prepare.sources.boxes import Box

_NAMES = {
    "path": "path file filename file_name filepath file_path image image_path image_name image_bytes img img_path "
    "img_bytes picture pth subdirectory_filepath",
    "label": "label labels emotion expression class category expression_label emotion_label",
    "split": "split usage set subset partition",
    "person": "person person_id subject subject_id identity actor actor_id",
    "left": "left x1 xmin x_min x face_x face_box_left box_left",
    "top": "top y1 ymin y_min y face_y face_box_top box_top",
    "right": "right x2 xmax x_max face_box_right box_right",
    "bottom": "bottom y2 ymax y_max face_box_bottom box_bottom",
    "width": "w width face_width box_width",
    "height": "h height face_height box_height",
}
ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
"""Usual names of columns in lower case -> what they hold."""

CORNERS = ("left", "top", "right", "bottom")
SIZES = ("left", "top", "width", "height")
_BOX_ROLES = frozenset({*CORNERS, *SIZES})
_AMBIGUOUS_BOXES = frozenset({"box", "bbox", "bounding_box", "face_box", "rect"})

USUAL_COLUMNS = frozenset({
    "age", "sex", "gender", "race", "ethnicity", "skin", "pose", "yaw", "pitch", "roll", "angle", "brightness",
    "illumination", "occlusion", "glasses", "valence", "arousal",
})  # fmt: skip
"""Columns about persons and pictures that are kept without being asked for."""


@dataclass(frozen=True)
class Columns:
    """The numbers of a list's columns.

    Args:
        roles: the column of each role that the list has.
        kept: the further columns to keep, by name.
        has_header: whether the list's first row names its columns.
    """

    roles: Mapping[str, int]
    kept: Mapping[str, int]
    has_header: bool

    @property
    def box_roles(self) -> tuple[str, ...]:
        """The four roles that make a box; empty where the list has none."""
        return next((four for four in (CORNERS, SIZES) if set(four) <= set(self.roles)), ())

    def numbers(self, roles: Sequence[str]) -> list[int]:
        """The columns of these roles, then those of the box, then those that are kept."""
        return [self.roles[role] for role in (*roles, *self.box_roles)] + list(self.kept.values())


def find_columns(
    first: Sequence[str],
    is_named: bool,
    given: str | None,
    keep: Sequence[str],
    where: str,
    needs: Sequence[str] = ("path", "label"),
) -> Columns:
    """Find the columns of a list.

    Args:
        first: the list's first row: its header, or values where it has none.
        is_named: whether the first row is certain to be names.
        given: `--columns`, as `path=0,label=emotion`, or None.
        keep: the columns of `--keep`.
        where: how messages name the list.
        needs: the roles that the list must have.

    Raises:
        UserError: where a column is missing, or two could be meant.
    """
    names = [name.strip().lower() for name in first]
    given_columns = _given(given, names, first, where)
    has_header = is_named or _is_header(names, given_columns.names)
    roles = dict(given_columns.numbers)
    if has_header:
        roles |= _usual(names, roles, first, where)
    for role in needs:
        if role not in roles:
            raise UserError(_missing(role, first, has_header, where))
    _check_box(roles, names if has_header else [], where)
    return Columns(roles, _kept(names, keep, roles, has_header, where), has_header)


@dataclass(frozen=True)
class _Given:
    numbers: Mapping[str, int]
    names: Sequence[str]  # those columns that were given by name


def _given(text: str | None, names: Sequence[str], first: Sequence[str], where: str) -> _Given:
    numbers: dict[str, int] = {}
    by_name = []
    for pair in (text or "").split(",") if text else ():
        role, _, column = (part.strip() for part in pair.partition("="))
        if role not in _NAMES or not column:
            raise UserError(
                f"--columns '{pair.strip()}': write role=column with commas between; roles are {', '.join(_NAMES)}"
            )
        if column.isdecimal() and int(column) < len(names):
            number = int(column)
        elif column.lower() in names:
            number = names.index(column.lower())
            by_name.append(column.lower())
        else:
            raise UserError(
                f"{where}: has no column '{column}' of --columns (there are {_shown(first)}, numbered from 0)"
            )
        numbers[role] = number
    return _Given(numbers, by_name)


def _is_header(names: Sequence[str], given_by_name: Sequence[str]) -> bool:
    """Whether the first row is a header: it has a name that was given, or usual names for path or label."""
    return bool(given_by_name) or any(ROLES.get(name) in ("path", "label") for name in names)


def _usual(
    names: Sequence[str], given: Mapping[str, int], first: Sequence[str], where: str
) -> dict[str, int]:
    """The columns of usual names for the roles that were not given."""
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        role = ROLES.get(name)
        if role is None or role in given or number in given.values():
            continue
        if role in found and role not in _BOX_ROLES:
            raise UserError(
                f"{where}: columns '{first[found[role]]}' and '{first[number]}' could both be the {role}; say which "
                f"with --columns {role}=NAME"
            )
        found.setdefault(role, number)
    return found


def _missing(role: str, first: Sequence[str], has_header: bool, where: str) -> str:
    if has_header:
        return f"{where}: no column for the {role} (there are {_shown(first)}); name it with --columns {role}=NAME"
    return (
        f"{where}: its first row names no columns ({_shown(first)}); say what they hold with "
        "--columns path=0,label=1 (numbers from 0)"
    )


def _check_box(roles: dict[str, int], names: Sequence[str], where: str) -> None:
    """Drop a box that is not whole, such as a lone width; refuse a column of boxes, which has several meanings."""
    is_whole = set(CORNERS) <= set(roles) or set(SIZES) <= set(roles)
    if not is_whole:
        for role in _BOX_ROLES & set(roles):
            del roles[role]
        ambiguous = [name for name in names if name in _AMBIGUOUS_BOXES]
        if ambiguous:
            raise UserError(
                f"{where}: column '{ambiguous[0]}' holds boxes in one of several orders; give four columns, as "
                "left, top, right and bottom, or left, top, width and height"
            )


def _kept(
    names: Sequence[str], keep: Sequence[str], roles: Mapping[str, int], has_header: bool, where: str
) -> dict[str, int]:
    if keep and not has_header:
        raise UserError(f"--keep: {where} does not name its columns; give it a header")
    kept = {}
    for name in dict.fromkeys([*(name.strip().lower() for name in keep), *_usual_columns(names, has_header)]):
        if name not in names:
            raise UserError(f"--keep {name}: {where} has no such column (there are {_shown(names)})")
        kept[name] = names.index(name)
    return {name: number for name, number in kept.items() if number not in roles.values() or name in keep}


def _usual_columns(names: Sequence[str], has_header: bool) -> list[str]:
    return [name for name in names if name in USUAL_COLUMNS] if has_header else []


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:12])
    return shown + (", ..." if len(names) > 12 else "")


def parse_box(roles: Sequence[str], values: Sequence[str], where: str) -> Box:
    """The box in the columns of `roles`, CORNERS or SIZES. Raises UserError where it is none."""
    try:
        left, top, third, fourth = (float(value) for value in values)
    except ValueError:
        raise UserError(
            f"{where}: its box ({', '.join(values)[:80]}) is not four numbers; correct it"
        ) from None
    if tuple(roles) == SIZES:
        third, fourth = left + third, top + fourth
    numbers = (left, top, third, fourth)
    if not all(abs(number) < 10**6 for number in numbers) or third <= left or fourth <= top:
        raise UserError(
            f"{where}: its box ({', '.join(f'{role} {value}' for role, value in zip(roles, values, strict=True))}) has "
            "no area; correct it, or the columns' meaning with --columns"
        )
    return Box(*numbers)
