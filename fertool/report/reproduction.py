"""The means to make the runs again: their records, shell lines, minutes, fingerprints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fertool.report.shell_lines import train_line
from fertool.workspace import Run


@dataclass(frozen=True)
class RunRecord:
    """A run as the page lists it."""

    record: dict[str, Any]
    line: str  # the shell line that makes it
    minutes: str  # of training; a dash where they were not kept


def run_records(runs: Sequence[Run]) -> list[RunRecord]:
    """The records of runs, in their order."""
    return [_describe(run) for run in runs]


def _describe(run: Run) -> RunRecord:
    record = run.config()
    return RunRecord(record, train_line(record["config"]), run.minutes())


def fingerprints(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The files that runs were made from with their SHA-256, each once."""
    found: dict[tuple[str, str], None] = {}
    for run in runs:
        made_from = run.config()["made_from"]
        found |= {(str(name), str(sha256)): None for name, sha256 in made_from["inputs"].items()}
    return list(found)
