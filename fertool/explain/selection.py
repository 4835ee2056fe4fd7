"""Which runs an explainer is asked to explain."""

from collections.abc import Sequence

from fertool.errors import UserError
from fertool.explain.registry import Request, explainers_of
from fertool.workspace import Run, Workspace


def explainable_runs(workspace: Workspace, request: Request, names: Sequence[str]) -> list[Run]:
    """The named runs, or all finished ones, that an explainer can explain.

    Raises UserError where a named run is not there, not finished, or of a kind that the explainer cannot
    explain, and where nothing is left.
    """
    runs = [workspace.run(name) for name in names] if names else workspace.runs()
    chosen = []
    for run in runs:
        record = run.config()
        kind = record["family"], record["attention_blocks"]
        if record["state"] == "done" and request.explainer.can_explain(*kind):
            chosen.append(run)
        elif names and record["state"] != "done":
            raise UserError(f"{run.folder}: this run is {record['state']}; train it to its end first")
        elif names:
            raise UserError(
                f"{run.folder}: '{request.key}' cannot explain {record['model']}, it needs "
                f"{request.explainer.needs}; these can: {', '.join(explainers_of(*kind))}"
            )
    if not chosen:
        raise UserError(
            f"{workspace.root}: no finished run that '{request.key}' can explain; run 'fertool train' first"
        )
    return chosen
