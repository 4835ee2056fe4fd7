"""`fertool score`: predictions and heatmaps of runs -> figures, suite by suite."""

from collections.abc import Sequence
from typing import Any

from fertool.errors import UserError
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.models.predictions import made_elsewhere
from fertool.runtime.files import read_json, write_json
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import Columns, EvaluatedRun
from fertool.score.gather import with_marks
from fertool.score.guidance.tables import guidance_summary
from fertool.score.registry import Suite, chosen_suites
from fertool.score.results.conditions import identities, mixed_rows, without_repeats
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.score.settings import ScoreSettings
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace

DEFAULTS = ScoreSettings()


def score(
    workspace: Workspace,
    settings: ScoreSettings = DEFAULTS,
    *,
    runs: Sequence[str] = (),
    on: Workspace | None = None,
    device: str = "auto",
    precision: str = "fp32",
    force: bool = False,
) -> Summary:
    """Score runs on a split, one explainer a call; several runs become one table.

    Heatmaps that are missing are made first. Runs that share settings and seed are one network: only the first by
    name is scored.

    Args:
        workspace: where the runs lie.
        settings: what is scored, and how.
        runs: names of runs; without any, all finished runs that the explainer can explain.
        on: another workspace, on whose faces the runs are scored (a cross-dataset test). The results go to a folder
            of their own; classes without faces there are named.
        device: `auto`, `cpu`, `cuda`, ...
        precision: `auto`, `fp32` or `bf16`, of everything that is still to be computed.
        force: make predictions and figures again that are up to date.

    Returns:
        The figures by suite (`data`), and tables of them.

    Raises:
        UserError: for a suite, target, split, run or field that there is not, and where faces or masks are missing.
    """
    workspace.dataset()  # an early word where nothing is prepared
    # named before the workspace changes: runs belong to the one that trained them
    chosen_runs, notes = without_repeats(explainable_runs(workspace, settings.request, runs))
    if on is not None:
        notes += _missing_classes(on, chosen_runs)
        workspace, chosen_runs = on, [run.on(on) for run in chosen_runs]
    split = settings.split
    workspace.check_split(split)
    check_target(settings.target, workspace.dataset()["classes"])
    known = identities(chosen_runs, settings.by)
    notes += mixed_rows(chosen_runs, known)
    compute = choose_compute(device, precision)
    chosen = chosen_suites(settings.suites, settings.target, _truth_is_known(workspace, split))
    if settings.tta is not None and all(suite.name != "classification" for suite in chosen):
        raise UserError(
            f"--tta {settings.tta}: several views are of the suite classification; ask for it as well"
        )
    evaluated_runs = [EvaluatedRun(workspace, run, split, compute, force) for run in chosen_runs]
    workspace.load_region_maps(split)  # an early word where masks are missing
    data: dict[str, Any] = {"split": split}
    tables: list[Table] = []
    for suite in chosen:
        scores, columns = [], {}
        for evaluated in evaluated_runs:
            figures, columns[evaluated.run.name] = _kept(evaluated, suite, settings, force)
            scores.append(figures | known[evaluated.run.name])
        compared, shown = suite.show(evaluated_runs, scores, columns, settings)
        data[suite.name] = scores
        data |= {f"{suite.name}_{name}": figures for name, figures in compared.items()}
        tables += with_marks(shown, suite, evaluated_runs, settings)
    predictions = [
        run.predictions(split, tta) for run in chosen_runs for tta in dict.fromkeys((None, settings.tta))
    ]
    notes += [f"{path}: made elsewhere, taken as it is" for path in predictions if made_elsewhere(path)]
    guided = guidance_summary(workspace, chosen_runs, split)
    return Summary(data=data | guided.data, tables=[*tables, *guided.tables], notes=[*notes, *guided.notes])


def _missing_classes(other: Workspace, runs: Sequence[Run]) -> list[str]:
    there = other.dataset()["classes"]
    missing = sorted({name for run in runs for name in run.config()["classes"] if name not in there})
    note = f"scored on {other.root}: {other.dataset()['name']}"
    return [f"{note}; no faces of {', '.join(missing)} there" if missing else note]


def _truth_is_known(workspace: Workspace, split: str) -> bool:
    settings = workspace.dataset().get("settings", {})
    return workspace.truth(split).exists() and bool(settings.get("evidence") or settings.get("spurious"))


def _kept(
    evaluated: EvaluatedRun, suite: Suite, settings: ScoreSettings, force: bool
) -> tuple[dict[str, Any], Columns]:
    """A run's figures and columns, made now unless those stored are up to date.

    Figures that have the nulls' beside them serve where those of the explainer alone are asked for.
    """
    path = suite.path(evaluated.run, evaluated.split, settings)
    recorded = {"run": evaluated.run.name, "split": evaluated.split, **suite.recorded(settings)}
    made_from = evaluated.workspace.made_from(suite.revision, recorded, suite.inputs(evaluated, settings))
    fuller = {name: value for name, value in made_from["settings"].items() if name != "nulls"}
    products = [path.with_suffix(suffix) for suffix in suite.beside]
    current = (made_from, made_from | {"settings": fuller})
    if force or not any(evaluated.workspace.is_current(path, of, products) for of in current):
        figures, columns = suite.score(evaluated, settings)
        write_columns(path.with_suffix(".csv"), columns)
        write_json(path, {**recorded, **figures, "made_from": made_from})
    return read_json(path), read_columns(path.with_suffix(".csv"))
