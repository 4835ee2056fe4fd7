"""Explainers whose maps were made elsewhere and imported: `imported:NAME`."""

import functools
import re

from fertool.errors import UserError
from fertool.explain.explainer import Explainer, Explanation, Negatives

PREFIX = "imported:"
NAME = re.compile(r"\w[\w.-]*")  # it becomes part of a folder's name


def is_imported(name: str) -> bool:
    """Whether a name is one of imported maps."""
    return name.startswith(PREFIX)


def imported_name(name: str) -> str:
    """The explainer's name for `--explainer-name`. Raises UserError for what cannot be part of a folder's name."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"--explainer-name {name}: use letters, digits, dots and hyphens, beginning with a letter"
        )
    return f"{PREFIX}{name}"


@functools.cache
def imported_explainer(name: str, negatives: Negatives = "drop") -> Explainer:
    """The explainer of maps that are imported: it makes none."""
    imported_name(name.removeprefix(PREFIX))

    def make(*_arguments: object, **_options: object) -> Explanation:
        raise UserError(
            f"--explainer {name}: its maps were made elsewhere; none can be made of other faces or weights"
        )

    return Explainer(
        name=name,
        source="made elsewhere",
        needs="nothing",
        negatives=negatives,
        class_token="-",
        looks_at_target=True,
        explain=make,
        options={"negatives": "drop"},
        makes_maps=False,
    )
