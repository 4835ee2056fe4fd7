"""`fertool score`: predictions and heatmaps of runs -> figures, suite by suite."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fertool.errors import UserError
from fertool.explain.face_sample import FaceSample, draw_sample
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.models.predictions import made_elsewhere
from fertool.runtime.hardware import choose_compute, keep_freed_memory
from fertool.runtime.ranks import join_ranks
from fertool.score.by_column import BY_COLUMN, figures_by_column
from fertool.score.evaluated_run import EvaluatedRun, no_landmarks
from fertool.score.gather import show_results, with_marks
from fertool.score.guidance.tables import guidance_summary
from fertool.score.registry import chosen_suites, names_written
from fertool.score.results.conditions import identities, mixed_rows, without_repeats
from fertool.score.results.stored import ensure_figures
from fertool.score.settings import ScoreSettings
from fertool.score.shared_out import share_out_figures
from fertool.score.suites.suite import Results, Suite, described
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
    precision: str = "auto",
    force: bool = False,
) -> Summary:
    """Score runs on a split, one explainer a call; several runs become one table.

    Heatmaps that are missing are made first. Runs that share settings and seed are one network: only the first by
    name is scored. Processes that torchrun started share runs and faces.

    Args:
        workspace: where the runs lie.
        settings: what is scored, and how.
        runs: names of runs; without any, all finished runs that the explainer can explain.
        on: another workspace, on whose faces the runs are scored (a cross-dataset test). The results go to a folder
            of their own; classes without faces there are named.
        device: `auto`, `cpu`, `cuda`, ...
        precision: number format of what is still to be computed: `fp32`, `bf16`, or `auto`, which is float32 but for
            changed faces where bfloat16 serves, see `number_format`.
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
        notes += _notes_on_other_faces(workspace, on, chosen_runs, settings.split)
        workspace, chosen_runs = on, [run.on(on) for run in chosen_runs]
    known = identities(chosen_runs, settings.by)
    notes += mixed_rows(chosen_runs, known)
    suites = _suites_to_score(workspace, settings)
    sample = _sample_to_score(workspace, settings)
    suites, left_out = _with_landmarks(workspace, settings, suites, sample)
    notes += left_out
    compute = choose_compute(device, "fp32" if precision == "auto" else precision)
    tries_bfloat16 = precision == "auto" and choose_compute(device).precision == "bf16"
    keep_freed_memory()
    evaluated_runs = [
        EvaluatedRun(workspace, run, settings.split, compute, force, sample, tries_bfloat16)
        for run in chosen_runs
    ]
    ranks = join_ranks()
    if ranks.count > 1:
        evaluated_runs = share_out_figures(ranks, suites, evaluated_runs, settings)
    shown = ranks.broadcast_from_rank0(lambda: _show(workspace, suites, evaluated_runs, settings, known))
    return replace(shown, notes=[*notes, *shown.notes])


def _show(
    workspace: Workspace,
    suites: Sequence[Suite],
    evaluated_runs: list[EvaluatedRun],
    settings: ScoreSettings,
    known: Mapping[str, dict[str, Any]],
) -> Summary:
    """Figures and tables of all suites, made where they are not up to date."""
    runs = [evaluated.run for evaluated in evaluated_runs]
    data: dict[str, Any] = {"split": settings.split}
    shown_by_suite: list[tuple[Suite, list[Table]]] = []
    scored: dict[str, Results] = {}
    for suite in suites:
        results = scored[suite.name] = _score_suite(suite, evaluated_runs, settings, known)
        compared, shown = show_results(suite, results)
        data[suite.name] = results.scores
        data |= {f"{suite.name}_{name}": figures for name, figures in compared.items()}
        shown_by_suite.append((suite, shown))
    # once all are scored: sanity, which may come last, says which rows are marked
    tables = [
        table for suite, shown in shown_by_suite for table in with_marks(shown, suite, scored[suite.name])
    ]
    if settings.by_column is not None:
        data["by_column"], shown = figures_by_column(scored, settings.by_column)
        tables += shown
    guided = guidance_summary(workspace, runs, settings.split)
    notes = [*_made_elsewhere(runs, settings), *guided.notes]
    return Summary(data=data | guided.data, tables=[*tables, *guided.tables], notes=notes)


def _suites_to_score(workspace: Workspace, settings: ScoreSettings) -> list[Suite]:
    """The suites that the settings name. Raises UserError for what this workspace lacks: split, class."""
    workspace.check_split(settings.split)
    check_target(settings.target, workspace.dataset()["classes"])
    suites = chosen_suites(
        settings.suites,
        settings.target,
        _truth_is_known(workspace, settings.split),
        settings.request.explainer.makes_maps,
    )
    if settings.tta is not None and all(suite.name != "classification" for suite in suites):
        raise UserError(
            f"--tta {settings.tta}: the suite classification takes it; add --suite classification"
        )
    if settings.by_column is not None and not {suite.name for suite in suites} & BY_COLUMN:
        raise UserError(
            f"--by-column {settings.by_column}: shows figures of {', '.join(sorted(BY_COLUMN))}; add one of them to "
            "--suite"
        )
    return suites


def _with_landmarks(
    workspace: Workspace, settings: ScoreSettings, suites: Sequence[Suite], sample: FaceSample | None
) -> tuple[list[Suite], list[str]]:
    """The suites that the landmarks of the faces scored allow, and a note where these are fewer.

    Raises UserError where there are no masks, and for a suite that was named and is left out.
    """
    workspace.load_region_maps(settings.split)
    detectors = workspace.load_landmarks(settings.split, ["detector"])["detector"]
    if (detectors[slice(None) if sample is None else sample.rows] != TEMPLATE).any():
        return list(suites), []
    left_out = [suite.name for suite in suites if suite.needs_landmarks]
    what, remedy = no_landmarks(workspace, settings.split, sample)
    if named := [name for name in names_written(settings.suites) if name in left_out]:
        raise UserError(f"--suite {named[0]}: {what}; leave it out, or {remedy}")
    notes = [f"{what}: {', '.join(left_out)} left out; {remedy}"] if left_out else []
    return [suite for suite in suites if suite.name not in left_out], notes


def _score_suite(
    suite: Suite,
    evaluated_runs: list[EvaluatedRun],
    settings: ScoreSettings,
    known: Mapping[str, dict[str, Any]],
) -> Results:
    scores, columns = [], {}
    for evaluated in evaluated_runs:
        name = evaluated.run.name
        figures, columns[name] = ensure_figures(evaluated, suite, settings, force=evaluated.force)
        scores.append(described(suite, evaluated, settings, figures, known[name]))
    return Results([evaluated.whole for evaluated in evaluated_runs], scores, columns, settings)


def _sample_to_score(workspace: Workspace, settings: ScoreSettings) -> FaceSample | None:
    if settings.faces is None:
        return None
    return draw_sample(workspace.load_labels(settings.split), settings.faces, settings.seed)


def _made_elsewhere(runs: Sequence[Run], settings: ScoreSettings) -> list[str]:
    paths = [
        run.predictions(settings.split, tta) for run in runs for tta in dict.fromkeys((None, settings.tta))
    ]
    return [f"{path}: made elsewhere, taken as it is" for path in paths if made_elsewhere(path)]


def _notes_on_other_faces(
    workspace: Workspace, other: Workspace, runs: Sequence[Run], split: str
) -> list[str]:
    dataset = other.dataset()
    there = dataset["classes"]
    missing = sorted({name for run in runs for name in run.config()["classes"] if name not in there})
    note = f"scored on {other.root}: {dataset['name']}"
    notes = [f"{note}; no faces of {', '.join(missing)} there" if missing else note]
    here, trained_on = other.load_faces(split).shape[1:3], workspace.load_faces("train").shape[1:3]
    if here != trained_on:
        notes.append(
            f"{other.root}: faces of {here[1]}x{here[0]} pixels, the runs were trained on {trained_on[1]}x"
            f"{trained_on[0]}: identical twins in train cannot be seen, near ones can"
        )
    return notes


def _truth_is_known(workspace: Workspace, split: str) -> bool:
    settings = workspace.dataset().get("settings", {})
    return workspace.holds(workspace.truth(split)) and bool(
        settings.get("evidence") or settings.get("spurious")
    )
