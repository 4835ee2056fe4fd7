"""`fertool explain`: heatmaps of runs."""

from collections.abc import Sequence

from fertool.explain.heatmaps import ensure_heatmaps
from fertool.explain.registry import DEFAULT_EXPLAINER, parse_request
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.hardware import choose_compute
from fertool.summary import Summary, Table
from fertool.workspace import Workspace


def explain(
    workspace: Workspace,
    explainers: Sequence[str] = (DEFAULT_EXPLAINER,),
    *,
    runs: Sequence[str] = (),
    split: str = "test",
    target: str = "predicted",
    device: str = "auto",
    precision: str = "fp32",
    force: bool = False,
) -> Summary:
    """Make the heatmaps of each explainer for each run on a split, and the runs' predictions.

    Explainers are names with options, as `rollout@discard=0.9`. `target` is predicted, label, a class, or
    all classes. Without `runs`, all finished runs that the explainer can explain. What is up to date is left
    alone. Raises UserError for names that are none, and where there is nothing to explain.
    """
    requests = [parse_request(text) for text in explainers]
    workspace.check_split(split)
    check_target(target, workspace.dataset()["classes"])
    compute = choose_compute(device, precision)
    rows, data, notes = [], [], []
    for request in requests:
        for run in explainable_runs(workspace, request, runs):
            for maps in ensure_heatmaps(workspace, run, request, split, target, compute, force=force):
                if maps.record is None:
                    notes.append(f"{maps.place}: made elsewhere, taken as it is")
                    continue
                if not maps.made_now:
                    notes.append(f"{maps.place}: up to date; --force makes it again")
                data.append({"run": run.name, "heatmaps": str(maps.place), **maps.record})
                rows.append(
                    [
                        run.name,
                        request.key,
                        "target ignored" if maps.record["target"] == "ignored" else maps.record["target"],
                        "x".join(map(str, maps.record["grid"])),
                        f"{maps.record['faces']:,}",
                        f"{maps.record['empty']:,}",
                    ]
                )
    table = Table(f"heatmaps of {split}", ["run", "explainer", "target", "grid", "faces", "empty"], rows)
    return Summary(data={"split": split, "heatmaps": data}, tables=[table], notes=notes)
