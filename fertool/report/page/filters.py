"""The filters of the table of conditions."""

from collections.abc import Sequence
from dataclasses import dataclass

from fertool.report.first_screen import Row


@dataclass(frozen=True)
class Filter:
    """A list to choose from: its key in the rows' data attributes, and the options as value and text."""

    key: str
    name: str
    options: list[tuple[str, str]]


def filters_of(rows: Sequence[Row]) -> list[Filter]:
    """The filters that have something to choose: family, pretraining, guidance, and whose maps to show."""
    found = {
        "family": [row.condition.family for row in rows],
        "pretraining": [row.condition.pretraining for row in rows],
        "guidance": [row.condition.guidance for row in rows],
    }
    filters = [
        Filter(key, key, [("", "all"), *((value, value) for value in dict.fromkeys(values))])
        for key, values in found.items()
        if len(set(values)) > 1
    ]
    views = list(dict.fromkeys(row.view.name for row in rows if row.view is not None))
    if len(views) > 1:
        options = [("first", "one row a condition"), *((view, view) for view in views), ("all", "all maps")]
        filters.append(Filter("view", "explainer", options))
    return filters
