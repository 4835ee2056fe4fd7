"""A run's figures on disk: made where they are not up to date, and read back whole or not at all.

A suite writes a record, the JSON, and files beside it, such as the CSV. The record goes away before the first of them
is written, and comes last, with the size and hash of each: so no record ever stands beside files that it was not
written with, wherever a scoring is killed.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fertool.runtime.files import write_record
from fertool.runtime.locks import make_alone
from fertool.runtime.reading import read_json
from fertool.score.evaluated_run import Columns, EvaluatedRun
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.score.settings import ScoreSettings
from fertool.score.suites.suite import Suite


def ensure_figures(
    evaluated: EvaluatedRun, suite: Suite, settings: ScoreSettings, *, force: bool = False
) -> tuple[dict[str, Any], Columns]:
    """A run's figures and its values a face, made now unless those stored are up to date.

    Figures with the nulls' beside them serve where only the explainer's are asked for, and figures of all faces where
    a sample is. The values a face are those of the whole split, nan where a face is not in the sample.
    """
    workspace, run = evaluated.workspace, evaluated.run
    path = suite.path(run, settings)
    if not suite.samples:
        evaluated = evaluated.whole
    recorded = {"run": run.name, "split": evaluated.split, **suite.recorded(settings)}
    if evaluated.sample is not None:
        recorded["sample"] = evaluated.sample.record
    made_from = workspace.made_from(suite.revision_for(run), recorded, suite.inputs(evaluated, settings))
    products = [path.with_suffix(suffix) for suffix in suite.beside]

    def is_current() -> bool:
        return any(workspace.is_current(path, record, products) for record in _serving(made_from))

    def make() -> None:
        figures, columns = suite.score(evaluated, settings)
        path.unlink(missing_ok=True)
        of_split = {name: _of_split(evaluated, values) for name, values in columns.items()}
        write_columns(path.with_suffix(".csv"), of_split)
        record = {"made_from": made_from, "products": workspace.products(path, products)}
        write_record(path, {**recorded, **figures, **record})

    make_alone([path], is_current, make, force=force)
    return read_figures(evaluated.whole, path)


def _serving(made_from: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records that will do: the one asked for, with the nulls' figures as well, and of all faces."""
    optional = [name for name in ("nulls", "sample") if name in made_from["settings"]]
    for count in range(len(optional) + 1):
        for names in combinations(optional, count):
            settings = {name: value for name, value in made_from["settings"].items() if name not in names}
            yield made_from | {"settings": settings}


def _of_split(evaluated: EvaluatedRun, values: np.ndarray) -> np.ndarray:
    """Values of the faces scored as a column of the whole split, nan for the other faces."""
    if evaluated.sample is None:
        return values
    column = np.full(len(evaluated.whole.faces), np.nan)
    column[evaluated.sample.rows] = values
    return column


def read_figures(evaluated: EvaluatedRun, path: Path) -> tuple[dict[str, Any], Columns]:
    """The figures in `path`, a JSON file, and the values a face beside it.

    Raises DamagedError where a file is not whole, or the values are of another number of faces.
    """
    remedy = evaluated.workspace.remedy(path)
    columns = read_columns(path.with_suffix(".csv"), remedy, rows=len(evaluated.faces))
    return read_json(path, remedy), columns
