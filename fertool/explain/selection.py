"""The runs that `--run` names, and those of them that an explainer can explain."""

import difflib
import fnmatch
from collections.abc import Sequence

from fertool.condition_names import runs_called
from fertool.errors import UserError
from fertool.explain.registry import Request, explainers_of
from fertool.runtime.progress import log
from fertool.workspace import Run, Workspace

GLOB = frozenset("*?[")
MOST_NAMES = 20  # of runs, in an error


def select_runs(workspace: Workspace, names: Sequence[str]) -> list[Run]:
    """The runs that are named, each once, or all runs where no name is given.

    A name is a run's name, a condition's name as tables show it, or a glob over runs' names. Raises UserError for a
    name that no run has, with the names that there are.
    """
    runs = workspace.runs()
    if not names:
        return runs
    chosen = {run.name: run for name in names for run in _called(workspace, runs, name)}
    return list(chosen.values())


def _called(workspace: Workspace, runs: Sequence[Run], name: str) -> list[Run]:
    exact = [run for run in runs if run.name == name]
    called = exact or runs_called(name, runs)
    if not called and GLOB & set(name):
        called = [run for run in runs if fnmatch.fnmatchcase(run.name, name)]
    if not called:
        raise UserError(
            f"{workspace.root}: no such run '{name}'; {_there_are([run.name for run in runs], name)}"
        )
    return called


def _there_are(names: Sequence[str], asked: str) -> str:
    if not names:
        return "there is none; run 'fertool train' first"
    near = difflib.get_close_matches(asked, names, n=len(names), cutoff=0.3)
    shown = [*near, *(name for name in names if name not in near)][:MOST_NAMES]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"there are {', '.join(shown)}{more}"


def explainable_runs(workspace: Workspace, request: Request, names: Sequence[str]) -> list[Run]:
    """The named runs, or all finished ones, that an explainer can explain; see `select_runs` for names.

    A run that was trained on other faces than lie here is left out, which the log says (`Workspace.changed_faces`).

    Raises UserError where nothing is prepared, where a run that is named in full is not finished, was trained on other
    faces, or is of a kind that the explainer cannot explain, and where nothing is left.
    """
    workspace.dataset()
    runs = select_runs(workspace, names)
    chosen, changed = [], []
    for run in runs:
        faces_changed = workspace.changed_faces(run)
        reason = faces_changed or _why_not(run, request)
        if reason is None:
            chosen.append(run)
        elif run.name in names:
            raise UserError(f"{run.folder}: {reason}")
        elif faces_changed:
            changed.append(f"{run.folder}: left out: {faces_changed}")
    if not chosen and changed:
        raise UserError(changed[0])
    if not chosen:
        raise UserError(f"{workspace.root}: {_why_none(runs, request)}")
    for line in changed:
        log.warning("%s", line)
    return chosen


def _why_not(run: Run, request: Request) -> str | None:
    """The reason for which a run cannot be explained; None where it can."""
    record = run.config()
    kind = record["family"], record["attention_blocks"]
    if record["state"] != "done":
        return f"this run is {record['state']}; train it to its end first"
    if not request.explainer.makes_maps and not run.has_heatmaps(request.beside.key):
        return f"no maps of {request.beside.key} were imported into this run; 'fertool explain --import' brings them"
    if not request.explainer.can_explain(*kind):
        return (
            f"'{request.key}' cannot explain {record['model']}, it needs {request.explainer.needs}; these can: "
            f"{', '.join(explainers_of(*kind))}"
        )
    return None


def _why_none(runs: Sequence[Run], request: Request) -> str:
    finished = [run for run in runs if run.config()["state"] == "done"]
    if not finished:
        return "no finished run; run 'fertool train' first"
    if not request.explainer.makes_maps:
        return f"no finished run has maps of {request.beside.key}; 'fertool explain --import FILE.npy' brings them here"
    needs = request.explainer.needs
    kind = {"attention blocks": "transformer", "a convolutional network": "convolutional network"}.get(
        needs, needs
    )
    return (
        f"no {kind} among the finished runs ({_listed(finished)}), and '{request.key}' needs {needs}; take another "
        "explainer ('fertool explain --list-explainers')"
    )


def _listed(runs: Sequence[Run]) -> str:
    names = [run.name for run in runs[:MOST_NAMES]]
    return ", ".join(names) + (f" and {len(runs) - len(names)} more" if len(runs) > len(names) else "")
