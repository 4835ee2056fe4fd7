"""`fertool score`: predictions and heatmaps of runs -> figures, suite by suite."""

from collections.abc import Sequence
from typing import Any

from fertool.errors import UserError
from fertool.explain.registry import DEFAULT_EXPLAINER, parse_request
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.masks.regions import REGIONS
from fertool.models.predictions import made_elsewhere
from fertool.runtime.files import read_json, write_json
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import Columns, Subject
from fertool.score.gather import with_marks
from fertool.score.guidance.tables import guidance_summary
from fertool.score.perturbations.fills import FILLS
from fertool.score.registry import Asked, Suite, chosen_suites
from fertool.score.results.conditions import identities, mixed_rows, without_repeats
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.score.suites.region_share_tables import CONTRASTS
from fertool.score.suites.tta import check_tta
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace

DEFAULT_SUITES = ("classification", "attention")


def score(
    workspace: Workspace,
    explainer: str = DEFAULT_EXPLAINER,
    *,
    suites: Sequence[str] = DEFAULT_SUITES,
    runs: Sequence[str] = (),
    on: Workspace | None = None,
    split: str = "test",
    target: str = "predicted",
    by: Sequence[str] = ("condition",),
    grid: int | None = None,
    jitter: float = 0.0,
    contrasts: Sequence[str] = CONTRASTS,
    fills: Sequence[str] = FILLS,
    reference: str | None = None,
    seed: int = 0,
    tta: str | None = None,
    nulls: bool = True,
    device: str = "auto",
    precision: str = "fp32",
    force: bool = False,
) -> Summary:
    """Score runs on a split, one explainer a call; several runs become one table.

    `on` is another workspace: the runs of this one are scored on its faces (a cross-dataset test), and their
    results go to a folder of their own; classes that are missing there are left out and named.
    `suites` are names of SUITES, or `all`. Without `runs`, all finished runs that the explainer can explain;
    heatmaps that are missing are made first. `by` names the fields of run.json whose values make a row.
    `grid` compares models on a common pooled grid; `jitter` moves landmarks by that part of the inter-ocular
    distance; `contrasts` are the regions whose differences are tested; `fills` are the ways of covering of the
    suite causal; `reference` is the run whose corruption error is 100%; `seed` draws samples; `tta`, flip or
    tencrop, adds accuracy with test-time augmentation to the suite classification; without `nulls` the suites
    faithfulness and causal-agreement score the explainer's maps alone, with the same figures. Raises UserError for
    names that are none, and where faces, masks or runs are missing. Of runs with the same settings and seed only the
    first by name is scored. `force` makes predictions and figures again that are up to date.
    """
    request = parse_request(explainer)
    asked = Asked(request, target, grid, jitter, tuple(contrasts), tuple(fills), reference, seed, tta, nulls)
    # named before the workspace changes: runs belong to the one that trained them
    chosen_runs, notes = without_repeats(explainable_runs(workspace, request, runs))
    if on is not None:
        notes += _missing_classes(on, chosen_runs)
        workspace, chosen_runs = on, [run.on(on) for run in chosen_runs]
    _check(workspace, split, asked)
    known = identities(chosen_runs, by)
    notes += mixed_rows(chosen_runs, known)
    compute = choose_compute(device, precision)
    chosen = chosen_suites(tuple(suites), target, _truth_is_known(workspace, split))
    if tta is not None and all(suite.name != "classification" for suite in chosen):
        raise UserError(f"--tta {tta}: several views are of the suite classification; ask for it as well")
    subjects = [Subject(workspace, run, split, compute, force) for run in chosen_runs]
    workspace.load_region_maps(split)  # an early word where masks are missing
    data: dict[str, Any] = {"split": split}
    tables: list[Table] = []
    for suite in chosen:
        scores, columns = [], {}
        for subject in subjects:
            figures, columns[subject.run.name] = _kept(subject, suite, asked, force)
            scores.append(figures | known[subject.run.name])
        compared, shown = suite.show(subjects, scores, columns, asked)
        data[suite.name] = scores
        data |= {f"{suite.name}_{name}": figures for name, figures in compared.items()}
        tables += with_marks(shown, suite, subjects, asked)
    predictions = [
        run.predictions(split, tta) for run in chosen_runs for tta in dict.fromkeys((None, asked.tta))
    ]
    notes += [f"{path}: made elsewhere, taken as it is" for path in predictions if made_elsewhere(path)]
    guided = guidance_summary(workspace, chosen_runs, split)
    return Summary(data=data | guided.data, tables=[*tables, *guided.tables], notes=[*notes, *guided.notes])


def _missing_classes(other: Workspace, runs: Sequence[Run]) -> list[str]:
    there = other.dataset()["classes"]
    missing = sorted({name for run in runs for name in run.config()["classes"] if name not in there})
    note = f"scored on {other.root}: {other.dataset()['name']}"
    return [f"{note}; no faces of {', '.join(missing)} there" if missing else note]


def _check(workspace: Workspace, split: str, asked: Asked) -> None:
    workspace.check_split(split)
    check_tta(asked.tta)
    check_target(asked.target, workspace.dataset()["classes"])
    if asked.target == "all":
        raise UserError("--target all: scores are of one target; name a class, or predicted or label")
    for region in asked.contrasts:
        if region not in REGIONS:
            raise UserError(f"--contrasts {region}: no such region; there are {', '.join(REGIONS)}")
    if asked.grid is not None and asked.grid < 1:
        raise UserError(f"--grid {asked.grid}: must be 1 or more cells a side")
    if asked.seed < 0:
        raise UserError(f"--seed {asked.seed}: must be 0 or more")
    if asked.jitter < 0:
        raise UserError(f"--jitter {asked.jitter}: must be 0 or more inter-ocular distances")


def _truth_is_known(workspace: Workspace, split: str) -> bool:
    settings = workspace.dataset().get("settings", {})
    return workspace.truth(split).exists() and bool(settings.get("evidence") or settings.get("spurious"))


def _kept(subject: Subject, suite: Suite, asked: Asked, force: bool) -> tuple[dict[str, Any], Columns]:
    """A run's figures and columns, made now unless those stored are up to date.

    Figures that have the nulls' beside them serve where those of the explainer alone are asked for.
    """
    path = suite.path(subject.run, subject.split, asked)
    settings = {"run": subject.run.name, "split": subject.split, **suite.settings(asked)}
    made_from = subject.workspace.made_from(suite.revision, settings, suite.inputs(subject, asked))
    fuller = {name: value for name, value in made_from["settings"].items() if name != "nulls"}
    products = [path.with_suffix(suffix) for suffix in suite.beside]
    current = (made_from, made_from | {"settings": fuller})
    if force or not any(subject.workspace.is_current(path, of, products) for of in current):
        figures, columns = suite.score(subject, asked)
        write_columns(path.with_suffix(".csv"), columns)
        write_json(path, {**settings, **figures, "made_from": made_from})
    return read_json(path), read_columns(path.with_suffix(".csv"))
