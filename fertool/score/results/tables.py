"""Tables of the suites: runs gathered into rows, figures into cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

ADOPTED = " (adopted)"  # behind the name of a network that was trained elsewhere
Scores = list[dict[str, Any]]  # a suite's figures, one dictionary a run, with `run` and `group` among them


@dataclass(frozen=True)
class Group:
    """The runs that share a row: by default those of a condition, which differ in their seed alone."""

    name: str  # as figures for scripts have it
    runs: Scores

    @property
    def label(self) -> str:
        """The name that tables show; an adopted network is marked."""
        return _marked(self.runs[0].get("label", self.name), self.runs[0])

    @property
    def seeds(self) -> str:
        """The number of runs behind the row's figures."""
        return str(len(self.runs))


def run_label(run: Mapping[str, Any]) -> str:
    """The name of a run in tables, given its figures: its condition's label, its seed where several are shown.

    An adopted network is marked.
    """
    return _marked(run.get("run_label", run["run"]), run)


def _marked(name: str, run: Mapping[str, Any]) -> str:
    """The name, with a mark where the network was trained elsewhere."""
    return f"{name}{ADOPTED}" if run.get("config", {}).get("epochs") == 0 else name


def groups(scores: Scores) -> list[Group]:
    """The rows of a table: in the order of their `place` where runs have one, else by name."""
    ordered = sorted(scores, key=lambda run: (run.get("place", 0), run["group"], run["run"]))
    return [Group(name, list(runs)) for name, runs in groupby(ordered, key=lambda run: run["group"])]


def seed_notes(rows: Sequence[Group]) -> list[str]:
    """Notes that say how little two seeds tell, for the rows that have two."""
    two = [row.label for row in rows if len(row.runs) == 2]
    if not two:
        return []
    return [
        f"{', '.join(two)}: two seeds. Two numbers tell next to nothing of how far seeds spread, so neither does the "
        "interval; train three or more."
    ]


def said_of_runs(text_by_run: Mapping[str, str | None]) -> list[str]:
    """Notes from a sentence for each run, by its name: a sentence that several share is said once.

    Nothing is said of a run whose sentence is None; with one among them no other is said of `each run`.
    """
    names: dict[str, list[str]] = {}
    for name, text in text_by_run.items():
        if text is not None:
            names.setdefault(text, []).append(name)
    if len(names) == 1 < len(text_by_run) and None not in text_by_run.values():
        return [f"each run: {text}" for text in names]
    return [f"{', '.join(called)}: {text}" for text, called in names.items()]


def percent(value: float | None) -> str:
    """A share as `28.3%`; a dash where there is none."""
    return "-" if value is None or np.isnan(value) else f"{value:.1%}"


def over_seeds(values: Iterable[float | None]) -> str:
    """One share, or mean and standard deviation over the seeds, in percent; a dash where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if len(known) == 1:
        return percent(known[0])
    return f"{percent(float(np.mean(known)))} ± {np.std(known, ddof=1) * 100:.1f}"


def with_interval(
    value: float | None, interval: Sequence[float | None] | None, *, scale: float = 100, digits: int = 1
) -> str:
    """A figure with its 95% interval, `28.3 [27.9, 28.8]`, or without where there is none; a dash for no figure."""
    if value is None or np.isnan(value):
        return "-"
    text = f"{scale * value:.{digits}f}"
    low, high = interval or (None, None)
    if low is None or high is None:
        return text
    ends = (f"{scale * limit:.{digits}f}" for limit in (low, high))
    # a limit of 0 is a little less by rounding
    low_text, high_text = (end.lstrip("-") if float(end) == 0 else end for end in ends)
    return f"{text} [{low_text}, {high_text}]"
