"""Figures that were scored before: read back, and gathered over runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fertool.explain.registry import stored_request
from fertool.runtime.hardware import choose_compute
from fertool.runtime.reading import damaged, read_json
from fertool.score.evaluated_run import Columns, EvaluatedRun
from fertool.score.registry import SUITES
from fertool.score.results.conditions import identities
from fertool.score.results.freshness import EXPLAINER_REVISION
from fertool.score.results.stored import read_figures
from fertool.score.results.tables import Scores, groups, run_label, said_of_runs
from fertool.score.settings import ScoreSettings
from fertool.score.suites.sanity import SANITY, marked
from fertool.score.suites.suite import Compared, Results, Suite, described
from fertool.summary import Table
from fertool.workspace import Run, StoredScores, Workspace

Found = tuple[Run, Suite, StoredScores]


@dataclass(frozen=True)
class Gathered:
    """A suite's figures over runs, for one explainer and target where it has heatmaps."""

    suite: Suite
    settings: ScoreSettings
    scores: Scores
    columns: dict[str, Columns]  # the values a face, by run
    compared: Compared  # figures that only several runs together have
    tables: list[Table]


def show_results(suite: Suite, results: Results) -> tuple[Compared, list[Table]]:
    """A suite's comparisons and tables; the first says of which sample of faces they are, if of one.

    Raises DamagedError, which names the file, for figures that lack what the suite's have: edited, or made elsewhere.
    """
    try:
        compared, tables = suite.show(results)
        return compared, _with_samples(tables, results)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        for evaluated, figures in zip(results.evaluated_runs, results.scores, strict=True):
            name = evaluated.run.name
            alone = replace(
                results,
                evaluated_runs=[evaluated],
                scores=[figures],
                columns={name: results.columns[name]},
                settings=replace(results.settings, reference=None),
            )
            try:
                suite.show(alone)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                path = suite.path(evaluated.run, results.settings)
                what = f"not figures of the suite {suite.name} ({type(error).__name__}: {error})"
                raise damaged(path, what, evaluated.workspace.remedy(path)) from error
        raise


def _with_samples(tables: list[Table], results: Results) -> list[Table]:
    if not tables:
        return tables
    notes = {
        run_label(
            run
        ): f"a sample of {run['sample']['faces']:,} of the {len(evaluated.faces):,} faces, every class "
        f"with its part, drawn by seed {run['sample']['seed']}; the intervals are those of so many faces."
        if run.get("sample")
        else None
        for evaluated, run in zip(results.evaluated_runs, results.scores, strict=True)
    }
    return [replace(tables[0], notes=[*tables[0].notes, *said_of_runs(notes)]), *tables[1:]]


def find_stored(workspace: Workspace, runs: Sequence[Run], split: str) -> tuple[list[Found], list[Found]]:
    """All figures that the runs have on disk for a split: those that are up to date, and those that are outdated."""
    current: list[Found] = []
    outdated: list[Found] = []
    for run in runs:
        scores = run.stored_scores(split)
        for suite in SUITES.values():
            for stored in suite.among(scores):
                is_outdated = suite.is_outdated(workspace, run, stored.path)
                (outdated if is_outdated else current).append((run, suite, stored))
    return current, outdated


def gather_scores(
    workspace: Workspace,
    runs: Sequence[Run],
    split: str,
    names: Mapping[str, str] | None = None,
    current: Sequence[Found] | None = None,
) -> list[Gathered]:
    """All suites that the runs have on disk for a split, in the order of SUITES, without outdated figures.

    Args:
        workspace: where the faces are.
        runs: the runs, in any order.
        split: the split that they were scored on.
        names: other names for the rows of runs, by run; with them, rows stand in the order of `runs`.
        current: their figures that are up to date, where `find_stored` was asked before.
    """
    compute, names = choose_compute("cpu", "fp32"), names or {}
    known = identities(runs)
    places = list(dict.fromkeys(names.values()))
    for run_name, name in names.items():
        seed = f", seed {known[run_name]['config']['seed']}" if list(names.values()).count(name) > 1 else ""
        known[run_name] |= {
            "group": name,
            "label": name,
            "run_label": f"{name}{seed}",
            "place": places.index(name),
        }
    order = list(SUITES)
    found: dict[tuple[str, str, str, int], list[tuple[Run, StoredScores]]] = {}
    for run, suite, stored in find_stored(workspace, runs, split)[0] if current is None else current:
        key = (suite.name, stored.explainer or "", stored.target or "", stored.grid or 0)
        found.setdefault(key, []).append((run, stored))
    gathered = []
    for key in sorted(found, key=lambda key: (order.index(key[0]), key[1:])):
        suite, (_, first) = SUITES[key[0]], found[key][0]
        settings = ScoreSettings(split=split)
        if first.explainer is not None and first.target is not None:
            settings = ScoreSettings(
                stored_request(first.explainer), split=split, target=first.target, grid=first.grid
            )
        evaluated_runs = [EvaluatedRun(workspace, run, split, compute) for run, _ in found[key]]
        scores, columns = [], {}
        for evaluated, (run, stored) in zip(evaluated_runs, found[key], strict=True):
            figures, columns[run.name] = read_figures(evaluated, stored.path)
            scores.append(described(suite, evaluated, settings, figures, known[run.name]))
        results = Results(evaluated_runs, scores, columns, settings)
        compared, tables = show_results(suite, results)
        tables = with_marks(_with_settings(tables, scores), suite, results)
        gathered.append(Gathered(suite, settings, scores, columns, compared, tables))
    return gathered


def outdated_notes(runs: Sequence[Run], outdated: Sequence[Found]) -> list[str]:
    """Notes on figures of these runs that `find_stored` found outdated, and so are left out."""
    suites_by_run: dict[str, list[str]] = {run.name: [] for run in runs}
    for run, suite, stored in outdated:
        explained = f" of {stored.explainer}" if stored.explainer else ""
        suites_by_run.setdefault(run.name, []).append(f"{suite.name}{explained}")
    return said_of_runs(
        {
            name: f"{', '.join(dict.fromkeys(suites))}: made from other faces, masks or weights than there are now, by "
            "an older way of scoring, or damaged since; left out, 'fertool score' makes them again"
            if suites
            else None
            for name, suites in suites_by_run.items()
        }
    )


def _with_settings(tables: list[Table], scores: Scores) -> list[Table]:
    """Tables of runs that were not scored alike, with a note on the first that says so."""
    made_with = [run.get("made_from", {}).get("settings", {}) for run in scores]
    names = dict.fromkeys(
        name
        for recorded in made_with
        for name in recorded
        if name not in ("run", "nulls", EXPLAINER_REVISION)
    )
    unlike = [name for name in names if len({str(recorded.get(name)) for recorded in made_with}) > 1]
    if not unlike or not tables:
        return tables
    first, *others = tables
    notes = [
        f"These runs were not scored alike: their {name} is "
        + ", ".join(
            f"{recorded.get(name)} ({run_label(run)})"
            for run, recorded in zip(scores, made_with, strict=True)
        )
        + "."
        for name in unlike
    ]
    return [replace(first, notes=[*first.notes, *notes]), *others]


def with_marks(tables: list[Table], suite: Suite, results: Results) -> list[Table]:
    """Tables of heatmaps, in which a mark stands at the runs of which `sanity` found that their map hardly changes."""
    if not suite.explains or suite is SANITY:
        return tables
    rows = {run["run"]: group.label for group in groups(results.scores) for run in group.runs}
    marks: dict[str, list[str]] = {}  # the notes of each name that a run goes by, its own and its row's
    for evaluated, figures in zip(results.evaluated_runs, results.scores, strict=True):
        if _is_marked(evaluated, results.settings):
            note = (
                f"† {run_label(figures)}: the map of {results.settings.request.key} hardly changes when the "
                "weights are randomised (suite sanity); it says little of this model."
            )
            for name in {run_label(figures), rows[figures["run"]]}:
                marks.setdefault(name, []).append(note)
    return [_with_marks(table, marks) for table in tables] if marks else tables


def _is_marked(evaluated: EvaluatedRun, settings: ScoreSettings) -> bool:
    path = SANITY.path(evaluated.run, settings)
    return (
        path.exists()
        and not SANITY.is_outdated(evaluated.workspace, evaluated.run, path)
        and marked(read_json(path))
    )


def _with_marks(table: Table, marks: Mapping[str, list[str]]) -> Table:
    """A table, its rows and its title marked where they are called by one of these names, with the names' notes."""
    named = [name for name in marks if table.title.startswith(f"{name}: ")]
    title = table.title.replace(f"{named[0]}: ", f"{named[0]} †: ", 1) if named else table.title
    rows = [[f"{row[0]} †", *row[1:]] if row[0] in marks else row for row in table.rows]
    named += [row[0] for row in table.rows if row[0] in marks]
    notes = dict.fromkeys(note for name in named for note in marks[name])
    return replace(table, title=title, rows=rows, notes=[*table.notes, *notes])
