"""Classes that a network and the data set do not share: outputs left out of the softmax, classes never predicted.

Networks that were trained elsewhere may have outputs that no face here belongs to, as contempt, and lack classes that
faces here have. Figures then stand beside the accuracy over all faces: it is lower than over the shared classes alone,
and an output that was left out may have been the answer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fertool.models import predict_logits
from fertool.models.predictions import made_elsewhere
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.tables import Scores, run_label, with_interval
from fertool.summary import Table

OnFaces = Callable[[np.ndarray], Figures | None]
"""The figures of the classification over some faces, bool (N,); None over none."""


def unshared_classes(evaluated: EvaluatedRun, on_faces: OnFaces) -> tuple[Figures, Columns]:
    """Figures of classes that are not shared, under `unshared_classes`; empty where all are.

    Columns: `left_out_answer`, 1 for a face whose answer had been an output that is left out.
    """
    adopted = evaluated.run.config().get("adopted") or {}
    lacking, left_out = adopted.get("not_its_classes") or [], adopted.get("left_out") or []
    if not lacking and not left_out:
        return {}, {}
    figures: dict[str, Any] = {"not_its_classes": lacking, "left_out": left_out}
    columns: Columns = {}
    if lacking:
        shared = ~np.isin(evaluated.labels, [evaluated.classes.index(name) for name in lacking])
        figures["shared_classes"] = on_faces(shared)
    if left_out and not made_elsewhere(evaluated.run.predictions(evaluated.split)):
        answers = _all_answers(evaluated, adopted["class_order"])
        figures["left_out_answers"] = {name: int((answers == name).sum()) for name in left_out}
        right = answers == np.array(evaluated.classes)[evaluated.labels]
        figures["accuracy_with_all_outputs"] = float(right.mean())
        columns["left_out_answer"] = np.isin(answers, left_out).astype(int)
    return {"unshared_classes": figures}, columns


def _all_answers(evaluated: EvaluatedRun, order: list[str]) -> np.ndarray:
    """The class of each face by all outputs of the network, its name (N,)."""
    model = evaluated.model
    with model.all_outputs():
        logits = predict_logits(model, evaluated.faces, evaluated.compute, evaluated.boxes)
    return np.array(order)[logits.argmax(axis=1)]


def unshared_tables(scores: Scores) -> list[Table]:
    """A row for each run with classes that are not shared; no table where there is none."""
    runs = [run for run in scores if run.get("unshared_classes")]
    if not runs:
        return []
    columns = [
        "run", "not among its classes", "accuracy over shared classes", "outputs left out", "had been the answer",
        "accuracy with all outputs",
    ]  # fmt: skip
    notes = [
        "A class that a network does not have is never predicted; an output that no face here belongs to is left out "
        "of the softmax. Had been the answer: the faces that such an output would have won. Accuracy with all outputs: "
        "these faces then count as wrong."
    ]
    return [
        Table("classes that network and data set do not share", columns, [_row(run) for run in runs], notes)
    ]


def _row(run: dict[str, Any]) -> list[str]:
    figures = run["unshared_classes"]
    shared, answers = figures.get("shared_classes"), figures.get("left_out_answers")
    over = "-"
    if shared:
        over = f"{with_interval(shared['accuracy'], shared['intervals']['accuracy'])} ({shared['faces']:,} faces)"
    won = "-"
    if answers is not None:
        won = ", ".join(f"{name} {count:,} ({count / run['faces']:.1%})" for name, count in answers.items())
    everything = figures.get("accuracy_with_all_outputs")
    return [
        run_label(run),
        ", ".join(figures["not_its_classes"]) or "-",
        over,
        ", ".join(figures["left_out"]) or "-",
        won,
        "-" if everything is None else f"{everything:.1%}",
    ]
