"""The summary that a stage gives its user at the end: figures for a script, tables for a reader."""

from dataclasses import dataclass, field
from typing import Any


class Greyed(str):
    """A table cell that is shown greyed: a figure that is there for completeness and not to be read."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """A table of text cells, shown alike on the terminal and in the report."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    detail: bool = False  # for the record: not shown on the terminal, folded away in the report


@dataclass(frozen=True)
class Summary:
    """The outcome of a stage: `data` is what `--json` prints, `tables` and `notes` are for people.

    `failure` is the line with which the command ends, exit code 1, after it has printed the rest.
    """

    data: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failure: str | None = None
