import json

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.explain.registry import parse_request
from fertool.masks.regions import REGIONS
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import Columns, EvaluatedRun
from fertool.score.suites.causal import cause_column
from fertool.score.suites.causal_agreement import (
    causal_agreement_tables,
    correlation_within,
    score_causal_agreement,
    truth_correlation,
)
from fertool.workspace import Workspace

FACES = 400


def drawn_areas(rng: np.random.Generator, faces: int = FACES) -> np.ndarray:
    areas = rng.dirichlet(np.array([40, 40, 6, 4, 5, 8]), size=faces)
    return areas


def without(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Residuals of a least-squares fit on area and a constant."""
    design = np.column_stack([np.ones_like(area), area])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def test_both_correlations_are_those_of_residuals() -> None:
    rng = np.random.default_rng(0)
    areas = drawn_areas(rng)
    truth = rng.normal(size=(FACES, 6)) + 2 * areas
    shares = 0.2 * truth + areas + 0.3 * rng.normal(size=(FACES, 6))
    agreement = truth_correlation(shares, truth, areas, np.arange(FACES))
    within = [
        np.corrcoef(without(share, area), without(worth, area))[0, 1]
        for share, worth, area in zip(shares, truth, areas, strict=True)
    ]
    across = [
        np.corrcoef(without(share, area), without(worth, area))[0, 1]
        for share, worth, area in zip(shares.T, truth.T, areas.T, strict=True)
    ]
    assert agreement["signed"]["within"]["correlation"] == pytest.approx(np.mean(within))
    assert agreement["signed"]["across"]["correlation"] == pytest.approx(np.mean(across), abs=1e-6)
    for question in ("within", "across"):
        low, high = agreement["signed"][question]["interval"]
        assert low < agreement["signed"][question]["correlation"] < high


def test_shares_that_are_the_causes_tell_all_and_areas_tell_nothing() -> None:
    rng = np.random.default_rng(1)
    areas = drawn_areas(rng)
    truth = rng.random((FACES, 6))
    clusters = np.arange(FACES)
    all_told = truth_correlation(3 * truth - areas, truth, areas, clusters)
    assert all_told["signed"]["within"]["correlation"] == pytest.approx(1)
    assert all_told["signed"]["across"]["correlation"] == pytest.approx(1, abs=1e-4)
    nothing_told = truth_correlation(areas * (1 + 1e-12), truth, areas, clusters)
    assert nothing_told["signed"]["within"]["correlation"] == 0
    assert nothing_told["signed"]["across"]["correlation"] == pytest.approx(0, abs=1e-3)


def test_what_area_brings_about_does_not_count() -> None:
    rng = np.random.default_rng(2)
    areas = drawn_areas(rng, 3000)
    truth, shares = (areas + 0.02 * rng.normal(size=areas.shape) for _ in range(2))
    plain = [np.corrcoef(*both)[0, 1] for both in zip(shares, truth, strict=True)]
    assert np.mean(plain) > 0.9
    agreement = truth_correlation(shares, truth, areas, np.arange(len(areas)))["signed"]
    for question in ("within", "across"):
        low, high = agreement[question]["interval"]
        assert low < 0 < high


def test_a_map_of_no_face_can_tell_what_all_faces_have_in_common_and_no_more() -> None:
    rng = np.random.default_rng(3)
    areas = np.broadcast_to(drawn_areas(rng, 1), (2000, 6))
    common = np.array([0.1, 0.3, 1.5, 0.2, 0.1, 2.0])
    truth = common + 0.5 * rng.normal(size=(2000, 6))
    swapped = np.roll(truth, 1, axis=0)
    agreement = truth_correlation(swapped, truth, areas, np.arange(2000))["signed"]
    assert agreement["within"]["correlation"] > 0.5
    assert abs(agreement["across"]["correlation"]) < 0.03


def test_sizes_forget_the_sign() -> None:
    rng = np.random.default_rng(4)
    areas = drawn_areas(rng)
    truth = rng.normal(size=(FACES, 6))
    agreement = truth_correlation(np.abs(truth), truth, areas, np.arange(FACES))
    assert agreement["size"]["within"]["correlation"] == pytest.approx(1)
    assert abs(agreement["signed"]["within"]["correlation"]) < 0.2


def test_faces_whose_causes_are_all_area_have_nothing_to_tell() -> None:
    areas = drawn_areas(np.random.default_rng(5), 2)
    truth = np.stack([2 * areas[0], areas[1, ::-1]])
    told = correlation_within(areas[:, ::-1], truth, areas)
    assert np.isnan(told[0]) and told[1] == pytest.approx(1)


def test_identical_faces_count_as_one_in_the_interval() -> None:
    rng = np.random.default_rng(6)
    areas, truth, shares = drawn_areas(rng, 60), rng.random((60, 6)), rng.random((60, 6))
    twice = [np.concatenate([values, values]) for values in (shares, truth, areas)]

    def width(clusters: np.ndarray) -> float:
        low, high = truth_correlation(*twice, clusters)["signed"]["within"]["interval"]
        return high - low

    assert width(np.tile(np.arange(60), 2)) > 1.2 * width(np.arange(120))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_of_no_faces_there_are_no_figures() -> None:
    nothing = np.empty((0, 6))
    agreement = truth_correlation(nothing, nothing, nothing, np.empty(0, dtype=int))
    like = truth_correlation(*np.random.default_rng(7).random((3, 9, 6)), np.arange(9))
    assert {kind: list(agreement[kind]) for kind in ("signed", "size")} == {
        kind: list(like[kind]) for kind in ("signed", "size")
    }
    for kind in ("signed", "size"):
        for question in ("within", "across"):
            assert agreement[kind][question] == {"correlation": None, "interval": [None, None]}


def causes_by_shares(evaluated: EvaluatedRun, fill: str) -> Columns:
    rng = np.random.default_rng(0)
    return {
        cause_column(target, fill, region): rng.random(len(evaluated.faces))
        for target in ("label", "predicted")
        for region in REGIONS
    }


def test_the_suite_scores_an_explainer_and_its_nulls(trained: Workspace) -> None:
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", choose_compute("cpu", "fp32"))
    figures, columns = score_causal_agreement(
        evaluated, parse_request("gradcam"), "label", causes_by_shares(evaluated, "blur")
    )
    json.dumps(figures)
    assert list(figures["fills"]) == ["blur"]
    assert list(figures["fills"]["blur"]) == [
        "gradcam", "uniform", "random", "edges", "centre", "swapped"
    ]  # fmt: skip
    assert figures["fills"]["blur"]["uniform"]["signed"]["within"]["correlation"] == 0
    assert np.isfinite(columns["told_blur"]).sum() == figures["counted"]
    record = {"run": "cnn", "group": "cnn", "split": "test", "explainer": "gradcam", "target": "label"}
    tables = causal_agreement_tables([figures | record])
    assert [len(table.rows) for table in tables] == [6, 6]
    alone, alone_columns = score_causal_agreement(
        evaluated, parse_request("gradcam"), "label", causes_by_shares(evaluated, "blur"), nulls=False
    )
    assert alone == figures | {"fills": {"blur": {"gradcam": figures["fills"]["blur"]["gradcam"]}}}
    assert np.array_equal(alone_columns["told_blur"], columns["told_blur"], equal_nan=True)
    assert [len(table.rows) for table in causal_agreement_tables([alone | record])] == [1, 1]
    with pytest.raises(UserError, match="label and predicted"):
        score_causal_agreement(
            evaluated, parse_request("gradcam"), "happy", causes_by_shares(evaluated, "blur")
        )
