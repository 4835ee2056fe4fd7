"""A run's figures on disk: made where they are not up to date, and read back whole or not at all.

A suite writes a record, the JSON, and files beside it, such as the CSV. The record goes away before the first of them
is written, and comes last, with the size and hash of each: so no record ever stands beside files that it was not
written with, wherever a scoring is killed.
"""

from pathlib import Path
from typing import Any

from fertool.runtime.files import write_record
from fertool.runtime.reading import read_json
from fertool.score.evaluated_run import Columns, EvaluatedRun
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.score.settings import ScoreSettings
from fertool.score.suites.suite import Suite


def ensure_figures(
    evaluated: EvaluatedRun, suite: Suite, settings: ScoreSettings, *, force: bool = False
) -> tuple[dict[str, Any], Columns]:
    """A run's figures and its values a face, made now unless those stored are up to date.

    Figures with the nulls' beside them serve where only the explainer's are asked for.
    """
    workspace, run = evaluated.workspace, evaluated.run
    path = suite.path(run, settings)
    recorded = {"run": run.name, "split": evaluated.split, **suite.recorded(settings)}
    made_from = workspace.made_from(suite.revision, recorded, suite.inputs(evaluated, settings))
    with_nulls = {name: value for name, value in made_from["settings"].items() if name != "nulls"}
    products = [path.with_suffix(suffix) for suffix in suite.beside]
    serving = [made_from]
    if with_nulls != made_from["settings"]:
        serving.append(made_from | {"settings": with_nulls})
    if force or not any(workspace.is_current(path, record, products) for record in serving):
        figures, columns = suite.score(evaluated, settings)
        path.unlink(missing_ok=True)
        write_columns(path.with_suffix(".csv"), columns)
        record = {"made_from": made_from, "products": workspace.products(path, products)}
        write_record(path, {**recorded, **figures, **record})
    return read_figures(evaluated, path)


def read_figures(evaluated: EvaluatedRun, path: Path) -> tuple[dict[str, Any], Columns]:
    """The figures in `path`, a JSON file, and the values a face beside it.

    Raises DamagedError where a file is not whole, or the values are of another number of faces.
    """
    remedy = evaluated.workspace.remedy(path)
    columns = read_columns(path.with_suffix(".csv"), remedy, rows=len(evaluated.faces))
    return read_json(path, remedy), columns
