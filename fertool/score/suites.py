"""The suites there are, by name: what each is made from, how it scores a run and shows several."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fertool.explain.registry import DEFAULT_EXPLAINER, Request, parse_request
from fertool.score import attention, attention_tables, classification
from fertool.score.subject import Columns, Figures, Subject
from fertool.score.tables import Scores
from fertool.summary import Table


@dataclass(frozen=True)
class Asked:
    """What the caller of `score` wants to know."""

    request: Request = field(default_factory=lambda: parse_request(DEFAULT_EXPLAINER))
    target: str = "predicted"
    grid: int | None = None  # cells a side of a common pooled grid
    jitter: float = 0.0  # of the landmarks, in inter-ocular distances
    contrasts: tuple[str, ...] = attention_tables.CONTRASTS  # regions whose differences are tested


Compared = dict[str, Any]  # figures that only several runs together have, by what they are
ShowRuns = Callable[[Scores, dict[str, Columns], np.ndarray, Asked], tuple[Compared, list[Table]]]


@dataclass(frozen=True)
class Suite:
    """A family of figures."""

    name: str
    of_heatmaps: bool  # whether its figures belong to an explainer and a target
    score: Callable[[Subject, Asked], tuple[Figures, Columns]]
    tables: ShowRuns
    settings: Callable[[Asked], dict[str, Any]]  # what of the asked-for its figures depend on
    inputs: Callable[[Subject, Asked], list[Path]]  # the files that they are made from
    revision: int = 1  # raised when the same inputs would give other figures


def _of_heatmaps(asked: Asked) -> dict[str, Any]:
    looks = asked.request.looks_at_target
    return {"explainer": asked.request.key, "target": asked.target if looks else "ignored"}


def _heatmap_inputs(subject: Subject, asked: Asked) -> list[Path]:
    workspace, split = subject.workspace, subject.split
    return [
        subject.heatmaps(asked.request, asked.target).place,
        workspace.region_maps(split),
        workspace.landmarks(split),
        workspace.faces_csv(split),
    ]


def _prediction_inputs(subject: Subject, asked: Asked) -> list[Path]:
    subject.heatmaps(asked.request, asked.target)  # which makes the predictions too
    return [
        subject.run.predictions(subject.split),
        subject.workspace.faces_csv(subject.split),
        subject.workspace.faces_csv("train"),
    ]


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in [
        Suite(
            name="classification",
            of_heatmaps=False,
            score=lambda subject, asked: classification.score_classification(subject),
            tables=lambda scores, columns, clusters, asked: (
                {},
                classification.classification_tables(scores),
            ),
            settings=lambda asked: {},
            inputs=_prediction_inputs,
        ),
        Suite(
            name="attention",
            of_heatmaps=True,
            score=lambda subject, asked: attention.score_attention(
                subject, asked.request, asked.target, grid=asked.grid, jitter=asked.jitter
            ),
            tables=lambda scores, columns, clusters, asked: attention_tables.attention_tables(
                scores, columns, clusters, asked.contrasts
            ),
            settings=lambda asked: _of_heatmaps(asked) | {"grid": asked.grid, "jitter": asked.jitter},
            inputs=_heatmap_inputs,
        ),
    ]
}
