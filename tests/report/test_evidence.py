"""The stored figures that a report's answers are made from."""

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.report.evidence import Evidence
from fertool.score.suites.causal import cause_column
from fertool.workspace import Workspace


def test_causal_weights_are_over_the_faces_that_every_seed_scored(before: Workspace) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    found = evidence.suite("causal")
    columns = evidence.columns(found, condition)
    fills = evidence.fills(condition)
    known = [cause_column("answer", fill, region) for fill in fills for region in REGIONS]
    counted = int(np.isfinite(columns[0][known[0]]).sum())
    assert evidence.causal_faces(condition) == counted > 0
    # as a sample leaves a face out
    for name in known:
        values = columns[0][name]
        values[np.flatnonzero(np.isfinite(values))[0]] = np.nan
    assert evidence.causal_faces(condition) == counted - 1


def test_shares_are_over_the_faces_with_landmarks_and_maps_of_every_run(before: Workspace) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    view = evidence.main_view(condition)
    assert view is not None
    (columns, *_) = evidence.columns(view.gathered, condition)
    (mapped,) = np.nonzero((columns["located"] == 1) & (columns["empty"] == 0))
    assert evidence.map_faces(view, [condition]) == len(mapped) > 1
    columns["located"][mapped[0]] = 0
    columns["empty"][mapped[1]] = 1
    assert evidence.map_faces(view, [condition]) == len(mapped) - 2
