"""The settings of `write_report`, checked when they are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fertool.errors import UserError
from fertool.score.column_request import parse_column

PARTS = ("page", "tables", "figures")


@dataclass(frozen=True)
class ReportSettings:
    """The settings of `write_report`. Raises UserError, which names the option, for a value that cannot be.

    Args:
        runs: names of runs, in the order in which they are to stand; none for all that are scored.
        split: the split whose scores are shown.
        only: the parts to write, of PARTS; none for all of them.
        by_column: a column by whose groups of faces figures are shown in a section too, as `COLUMN` or
            `COLUMN=EDGE,...` (see `fertool.score.column_request`); None for no such section.
        labels: what to call the conditions of runs, by a run's name.
    """

    runs: Sequence[str] = ()
    split: str = "test"
    only: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    by_column: str | None = None

    def __post_init__(self) -> None:
        for part in self.only:
            if part not in PARTS:
                raise UserError(f"--only {part}: no such part; there are {', '.join(PARTS)}")
        if self.by_column is not None:
            parse_column(self.by_column)
        for run, label in self.labels.items():
            if not label.strip():
                raise UserError(f"--labels {run}=: the label is empty; give the run a name to be shown")

    def writes(self, part: str) -> bool:
        """Whether a part is to be written."""
        return not self.only or part in self.only


def parse_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Labels by run out of `RUN=LABEL` texts. Raises UserError for a text without an equals sign."""
    labels = {}
    for pair in pairs:
        run, equals, label = pair.partition("=")
        if not equals or not run:
            raise UserError(f"--labels {pair}: must be RUN=LABEL, as cnn-s0=Baseline")
        labels[run] = label
    return labels
