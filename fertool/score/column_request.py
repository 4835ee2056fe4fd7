"""A column by whose groups figures are shown, as `--by-column` has it."""

import math
from dataclasses import dataclass

from fertool.errors import UserError


@dataclass(frozen=True)
class ColumnRequest:
    """A column and, for numbers, the edges between groups; none: terciles."""

    column: str
    edges: tuple[float, ...] = ()


def parse_column(text: str) -> ColumnRequest:
    """The request of `COLUMN` or `COLUMN=EDGE,...`. Raises UserError for edges that do not rise."""
    column, equals, written = text.rpartition("=")
    if not equals:
        return ColumnRequest(text)
    try:
        edges = tuple(float(edge) for edge in written.split(","))
    except ValueError:
        raise UserError(f"--by-column {text}: edges are numbers, as age=18,60; correct '{written}'") from None
    if not column or not all(map(math.isfinite, edges)) or list(edges) != sorted(set(edges)):
        raise UserError(f"--by-column {text}: give a column and edges that rise, as age=18,60")
    return ColumnRequest(column, edges)
