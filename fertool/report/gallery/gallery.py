"""The content of the gallery: which faces, which columns, what each model said of a face and where it looked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from fertool.explain.explainer import rectify
from fertool.models.predictions import read_logits
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence, shares_in
from fertool.report.gallery.pictures import face_address, heat_address, region_paths
from fertool.report.views import View
from fertool.runtime.reading import read_json, read_npy
from fertool.workspace import Run

FACES_A_CLASS = 4  # two that the first model gets right and two that it gets wrong, where there are
MOST_FACES = 32
MOST_COLUMNS = 12
PAGE_PICTURES = 320  # of heat, in all: more faces are left out


@dataclass(frozen=True)
class Column:
    """A run's maps of the gallery's faces in one view."""

    name: str
    detail: str
    set_name: str  # the columns that are shown together
    run: Run
    view: View
    predicted: np.ndarray  # class codes (n,)
    probabilities: np.ndarray  # (n, C)
    shares: np.ndarray  # (n, 6)
    heat: list[str]  # data addresses


@dataclass(frozen=True)
class Gallery:
    """The gallery; `faces` are data addresses, `outlines` SVG paths by region."""

    rows: np.ndarray  # of the split, (n,)
    labels: np.ndarray  # class codes (n,)
    faces: list[str]
    outlines: list[dict[str, str]]
    columns: list[Column]
    classes: list[str]

    @property
    def sets(self) -> list[str]:
        """The names of the sets of columns."""
        return list(dict.fromkeys(column.set_name for column in self.columns))

    @property
    def data(self) -> list[dict[str, Any]]:
        """The details of each face that are shown when it is enlarged."""
        return [
            {
                "row": int(row),
                "label": self.classes[label],
                "columns": [self._said(column, number) for column in self.columns],
            }
            for number, (row, label) in enumerate(zip(self.rows, self.labels, strict=True))
        ]

    def _said(self, column: Column, number: int) -> dict[str, Any]:
        shares = None
        if np.isfinite(column.shares[number]).all():
            shares = [round(float(share), 3) for share in column.shares[number]]
        return {
            "name": column.name,
            "detail": column.detail,
            "probabilities": [round(float(chance), 3) for chance in column.probabilities[number]],
            "shares": shares,
        }


MODELS = "one column a condition"


def make_gallery(evidence: Evidence) -> Gallery | None:
    """The gallery over conditions, then over the explainers of each; None where no maps are stored.

    Scores outlive the maps, which take much room.
    """
    wanted = _columns_wanted(evidence)
    if not wanted:
        return None
    first = evidence.columns(evidence.suite("classification"), wanted[0][0])
    correct = first[0]["correct"] == 1 if first else np.ones(evidence.faces, bool)
    most_faces = max(len(evidence.classes), min(MOST_FACES, PAGE_PICTURES // len(wanted)))
    rows = draw_faces(evidence.labels, correct, len(evidence.classes), most_faces)
    regions = evidence.workspace.load_region_maps(evidence.split)
    faces = evidence.workspace.load_faces(evidence.split)
    return Gallery(
        rows,
        evidence.labels[rows],
        [face_address(np.asarray(faces[row])) for row in rows],
        [region_paths(np.asarray(regions[row])) for row in rows],
        [_column(evidence, *wanted_column, rows) for wanted_column in wanted],
        evidence.classes,
    )


def _columns_wanted(evidence: Evidence) -> list[tuple[Condition, View, Run, str]]:
    """Each condition in the view that it is shown in first; then, where it has several, in all of its views."""
    wanted = []
    for condition in evidence.conditions[:MOST_COLUMNS]:
        view = evidence.main_view(condition)
        if view is not None and (run := _pictured_run(evidence, condition, view)):
            wanted.append((condition, view, run, MODELS))
    for condition in evidence.conditions[:MOST_COLUMNS]:
        views = [
            (condition, view, run, f"explainers of {condition.name}")
            for view in evidence.views_with(condition)
            if view.grid is None and (run := _pictured_run(evidence, condition, view))
        ]
        wanted += views if len(views) > 1 else []
    return wanted


def draw_faces(labels: np.ndarray, correct: np.ndarray, classes: int, most: int) -> np.ndarray:
    """Rows of faces by class, drawn by lot, always the same: half of them right, half wrong where there are.

    Args:
        labels: class codes, int64 (N,).
        correct: whether the first model gets a face right, bool (N,).
        classes: how many classes there are.
        most: how many faces at most, of all classes together.
    """
    faces_a_class = max(1, min(FACES_A_CLASS, most // classes))
    generator = np.random.default_rng(0)
    chosen = []
    for code in range(classes):
        right = generator.permutation(np.flatnonzero((labels == code) & correct))
        wrong = generator.permutation(np.flatnonzero((labels == code) & ~correct))
        half = -(-faces_a_class // 2)
        taken = [*right[:half], *wrong[: faces_a_class - min(half, len(right))]]
        chosen += [*taken, *right[half : half + faces_a_class - len(taken)]]
    return np.array(chosen, dtype=np.int64)


def _pictured_run(evidence: Evidence, condition: Condition, view: View) -> Run | None:
    """The first run of a condition that is scored in a view and still has its maps and predictions."""
    for run in condition.runs:
        maps = run.heatmaps(view.explainer, view.target, evidence.split)
        if run.name in view.gathered.columns and maps.exists() and run.predictions(evidence.split).exists():
            return run
    return None


def _column(
    evidence: Evidence, condition: Condition, view: View, run: Run, set_name: str, rows: np.ndarray
) -> Column:
    path = run.heatmaps(view.explainer, view.target, evidence.split)
    evidence.workspace.require_intact(path.with_suffix(".json"), path)
    raw = read_npy(path, evidence.workspace.remedy(path))[rows]
    record = path.with_suffix(".json")  # the explainer may be a function that is not here
    negatives = read_json(record).get("negatives") if record.exists() else None
    negatives = negatives or view.gathered.settings.request.explainer.negatives
    logits = read_logits(evidence.workspace, run, evidence.split)[rows]
    by_model = set_name == MODELS
    return Column(
        condition.name if by_model else view.name,
        view.name if by_model else condition.name,
        set_name,
        run,
        view,
        logits.argmax(axis=1),
        softmax(logits, axis=1),
        shares_in(view.gathered.columns[run.name])[rows],
        [heat_address(heatmap) for heatmap in rectify(raw, negatives)],
    )
