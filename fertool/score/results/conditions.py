"""The rows of tables: the runs in them and their names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fertool.condition_names import condition_labels, labels_of_runs
from fertool.errors import UserError
from fertool.workspace import Run


def without_repeats(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs, only the first by name among those with the same condition and seed; and a note that names the others.

    Runs with the same condition and seed are one network and would pass for two seeds.
    """
    named = {run.name: run for run in runs}
    by_condition_and_seed: dict[tuple[str, int], list[str]] = {}
    for name, run in named.items():
        record = run.config()
        by_condition_and_seed.setdefault((record["condition"], record["config"]["seed"]), []).append(name)
    kept, left_out = set(), []
    for names in by_condition_and_seed.values():
        first, *others = sorted(names)
        kept.add(first)
        if others:
            left_out.append(f"because {first} has the same settings and seed: {', '.join(others)}")
    notes = [f"left out, {'; '.join(left_out)}"] if left_out else []
    return [run for name, run in named.items() if name in kept], notes


def identities(runs: Sequence[Run], by: Sequence[str] = ("condition",)) -> dict[str, dict[str, Any]]:
    """Names, rows and settings of runs, which tables need beside their figures, by the run's name.

    Args:
        runs: all runs that are shown together.
        by: fields of run.json; runs that agree in all of them share a row.

    Returns:
        for each run its name (`run`); what tables call it (`run_label`); the name of its row (`group`: the values of
        the fields, where a condition is called as its runs are, the seed left out, if they are called alike and the
        runs of no other are); what tables call the row (`label`, see `condition_labels`); its settings (`config`).

    Raises:
        UserError: for a field that there is not.
    """
    records = {run.name: run.config() for run in runs}
    conditions, labels, run_labels = _condition_names(records), condition_labels(runs), labels_of_runs(runs)
    known = {}
    for run, record in records.items():
        fields = record["config"] | {
            key: value for key, value in record.items() if not isinstance(value, dict | list)
        }
        fields["condition"] = conditions[record["condition"]]
        for name in by:
            if name not in fields:
                raise UserError(
                    f"--by {name}: no such field in run.json; there are {', '.join(sorted(fields))}"
                )
        row = ", ".join(str(fields[name]) for name in by)
        label = ", ".join(str((fields | {"condition": labels[record["condition"]]})[name]) for name in by)
        known[run] = {
            "run": run,
            "run_label": run_labels[run],
            "group": row,
            "label": label,
            "config": record["config"],
        }
    return known


def mixed_rows(runs: Sequence[Run], known: Mapping[str, dict[str, Any]]) -> list[str]:
    """A note for each row that holds runs of several conditions: what differs between them is not the seed."""
    labels = condition_labels(runs)
    conditions: dict[str, set[str]] = {}
    for run in runs:
        conditions.setdefault(known[run.name]["label"], set()).add(labels[run.config()["condition"]])
    return [
        f"row '{row}' holds {len(row_conditions)} conditions ({', '.join(sorted(row_conditions))}): its figures over "
        "seeds are over these trainings"
        for row, row_conditions in conditions.items()
        if len(row_conditions) > 1
    ]


def _condition_names(records: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The name of each condition in figures for scripts: its runs' common name, in doubt a model and a hash."""
    called: dict[str, set[str]] = {}
    for run, record in records.items():
        called.setdefault(record["condition"], set()).add(run.removesuffix(f"-s{record['config']['seed']}"))
    condition_counts = Counter(name for condition, names in called.items() for name in names | {condition})
    ambiguous = {name for name, count in condition_counts.items() if count > 1}
    return {
        condition: next(iter(names)) if len(names) == 1 and not names & ambiguous else condition
        for condition, names in called.items()
    }
