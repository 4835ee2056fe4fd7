"""`fertool report --list`: the runs of a workspace."""

import time
from pathlib import Path
from typing import Any

from fertool.condition_names import labels_of_runs
from fertool.errors import UserError
from fertool.explain.registry import stored_request
from fertool.report.conditions import adopted_note, tuned_note
from fertool.summary import Summary, Table
from fertool.workspace import SPLITS, Run, Workspace

COLUMNS = ["run", "called", "state", "epochs", "val accuracy", "suites", "explainers", "age", "size"]
_AGES = (("days", 86_400), ("hours", 3_600), ("minutes", 60))


def list_runs(workspace: Workspace) -> Summary:
    """All runs: state, epochs, accuracy on val, suites scored, explainers, age and size on disk.

    A run whose record cannot be read is listed as damaged.
    """
    runs = workspace.runs()
    readable = [run for run in runs if _record(run) is not None]
    labels = labels_of_runs(readable)
    found = [_describe(run, labels.get(run.name, run.name)) for run in runs]
    rows = [
        [
            run["run"],
            run["label"],
            run["state"],
            _epochs(run),
            "-" if run["val_accuracy"] is None else f"{run['val_accuracy']:.2%}",
            ", ".join(run["suites"]) or "-",
            ", ".join(run["explainers"]) or "-",
            _age(run["age_s"]),
            _size(run["bytes"]),
        ]
        for run in found
    ]
    notes = [adopted_note(run["run"]) for run in found if run["epochs"] == 0]
    notes += [tuned_note(run.name) for run in readable if run.config()["config"].get("keep_head")]
    if not runs:
        notes.append(f"{workspace.root}: no runs yet; 'fertool train' makes one")
    return Summary({"runs": found}, [Table("runs", COLUMNS, rows)] if runs else [], notes)


def _record(run: Run) -> dict[str, Any] | None:
    try:
        return run.config()
    except UserError:
        return None


def _describe(run: Run, label: str) -> dict[str, Any]:
    record = _record(run) or {}
    best = record.get("best") or {}
    scores = [stored for split in SPLITS for stored in run.stored_scores(split)]
    explainers = {path.parent.parent.name for path in run.results.glob("heatmaps/*/*/*.npy")}
    return {
        "run": run.name,
        "label": label,
        "state": record.get("state", "damaged"),
        "epochs": record.get("config", {}).get("epochs"),
        "best_epoch": best.get("epoch"),
        "val_accuracy": best.get("val_accuracy"),
        "suites": sorted({stored.suite for stored in scores}),
        "explainers": sorted(name for name in explainers if _is_explainer(name)),
        "age_s": round(time.time() - run.run_json.stat().st_mtime),
        "bytes": sum(_bytes(path) for path in run.folder.rglob("*")),
    }


def _is_explainer(name: str) -> bool:
    """Whether a folder of heatmaps is of an explainer, and not of a null map or of something else."""
    try:
        return stored_request(name).null is None
    except UserError:
        return False


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # removed meanwhile
        return 0


def _epochs(run: dict[str, Any]) -> str:
    if run["epochs"] is None:
        return "-"
    if run["epochs"] == 0:
        return "adopted"
    return f"best {run['best_epoch']} of {run['epochs']}" if run["best_epoch"] else str(run["epochs"])


def _age(seconds: float) -> str:
    for name, length in _AGES:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
