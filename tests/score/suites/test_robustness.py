import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fertool.errors import UserError
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.corruptions import CORRUPTIONS, SEVERITIES
from fertool.score.suites.head_pose import RIGID_POINTS, head_yaw_deg
from fertool.score.suites.robustness import (
    above_clean,
    agreement_of,
    corruption_errors,
    mean_corruption_error,
    robustness_tables,
    score_robustness,
    strata,
)
from fertool.workspace import Workspace

CPU = Compute(torch.device("cpu"), "fp32")
errors = st.dictionaries(
    st.sampled_from(["noise", "blur", "jpeg"]),
    st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
    min_size=1,
)


def evaluated(workspace: Workspace) -> EvaluatedRun:
    return EvaluatedRun(workspace, workspace.run("cnn"), "test", CPU)


@pytest.fixture(scope="module")
def scored(trained: Workspace) -> tuple[Figures, Columns]:
    return score_robustness(evaluated(trained))


def projected(yaw: float, pitch: float, roll: float, scale: float) -> np.ndarray:
    """The model's rigid points, turned and seen from afar, among 68 points."""
    points = np.zeros((68, 3))
    points[list(RIGID_POINTS)] = list(RIGID_POINTS.values())
    # about the axis that points down a positive angle turns the nose to the left
    turn = Rotation.from_euler("ZYX", [roll, -yaw, pitch], degrees=True).as_matrix()
    return (points @ turn.T)[:, :2] * scale + [24, 20]


@settings(deadline=None)
@given(st.floats(-80, 80), st.floats(-40, 40), st.floats(-60, 60), st.floats(0.5, 20))
def test_the_yaw_of_a_turned_head_is_found_whatever_pitch_and_roll(yaw, pitch, roll, scale) -> None:
    assert head_yaw_deg(projected(yaw, pitch, roll, scale)[None])[0] == pytest.approx(yaw, abs=1e-3)


def test_yaw_is_positive_to_the_pictures_right_and_zero_of_no_face() -> None:
    right = projected(30, 0, 0, 1)
    assert right[30, 0] > right[[36, 45], 0].mean()  # the tip of the nose
    assert head_yaw_deg(np.stack([right, np.full((68, 2), 7.0)])) == pytest.approx([30, 0], abs=1e-3)


def test_drawn_heads_look_ahead(trained: Workspace) -> None:
    assert np.median(np.abs(head_yaw_deg(evaluated(trained).landmarks))) < 15


def test_mean_corruption_error_has_a_known_answer() -> None:
    run = {"noise": [0.2, 0.2, 0.2, 0.2, 0.2], "blur": [0.1, 0.2, 0.3, 0.4, 0.5]}
    reference = {"noise": [0.4, 0.4, 0.4, 0.4, 0.4], "blur": [0.2, 0.2, 0.2, 0.2, 0.2]}
    assert corruption_errors(run, reference) == pytest.approx({"noise": 0.5, "blur": 1.5})
    assert mean_corruption_error(run, reference) == pytest.approx(1.0)
    relative = [above_clean(errors, {"noise": 0.1, "blur": 0.1}) for errors in (run, reference)]
    assert relative[0]["blur"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert mean_corruption_error(*relative) == pytest.approx((0.5 / 1.5 + 1.0 / 0.5) / 2)


@given(errors, st.floats(0.1, 3))
def test_the_reference_has_one_and_errors_count_in_proportion(rates, factor) -> None:
    assert mean_corruption_error(rates, rates) == pytest.approx(1)
    scaled = {name: [factor * error for error in levels] for name, levels in rates.items()}
    assert mean_corruption_error(scaled, rates) == pytest.approx(factor)


def test_no_corruption_error_without_errors_of_the_reference_nor_against_other_corruptions() -> None:
    assert math.isnan(mean_corruption_error({"noise": [0.1] * 5}, {"noise": [0.0] * 5}))
    with pytest.raises(UserError, match="only one side has blur"):
        corruption_errors({"noise": [0.1] * 5}, {"noise": [0.1] * 5, "blur": [0.1] * 5})


@given(st.lists(st.floats(-100, 100) | st.just(math.nan), max_size=20))
def test_strata_part_what_is_known(values) -> None:
    values = np.array(values)
    members = np.array(list(strata(values, (10, 20, 30), "°").values()))
    assert (members.sum(axis=0) == ~np.isnan(values)).all()


def test_strata_have_their_lower_limit_and_agreement_its_largest_share() -> None:
    found = strata(np.array([9.9, 10.0, 30.0]), (10, 20, 30), "°")
    assert {name: np.flatnonzero(members).tolist() for name, members in found.items()} == {
        "below 10°": [0],
        "10 to 20°": [1],
        "20 to 30°": [],
        "30° and more": [2],
    }
    votes = np.array([[6, 4, 0], [0, 0, 0], [10, 0, 0]])
    assert agreement_of(votes) == pytest.approx([0.6, math.nan, 1.0], nan_ok=True)


def test_a_run_scored(trained: Workspace, scored: tuple[Figures, Columns]) -> None:
    evaluated_run = evaluated(trained)
    figures, columns = scored
    json.dumps(figures, allow_nan=False)
    for name, corruption in figures["corruptions"].items():
        rights = columns[f"right_{name}"]
        assert rights.shape == (len(evaluated_run.labels),) and set(rights) <= set(range(SEVERITIES + 1))
        assert np.mean(corruption["error"]) == pytest.approx(1 - rights.mean() / SEVERITIES)
        low, high = corruption["accuracy_interval"]
        assert low - 1e-6 <= corruption["accuracy"] <= high + 1e-6
    assert figures["clean_accuracy"] == pytest.approx(
        (evaluated_run.predicted == evaluated_run.labels).mean()
    )
    for strata_of in figures["strata"].values():
        assert sum(stratum["faces"] for stratum in strata_of.values()) == len(evaluated_run.labels)


def test_the_same_seed_scores_alike_and_another_otherwise(
    trained: Workspace, scored: tuple[Figures, Columns]
) -> None:
    again, other = (score_robustness(evaluated(trained), seed=seed)[0] for seed in (0, 1))
    assert again["corruptions"] == scored[0]["corruptions"] != other["corruptions"]
    assert again["corruptions"]["mask"] == other["corruptions"]["mask"]  # nothing of it is drawn


def test_accuracy_by_agreement_where_there_are_votes(
    trained: Workspace, scored: tuple[Figures, Columns], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "agreement of FER+ votes" not in scored[0]["strata"]
    evaluated_run = evaluated(trained)
    happy = np.arange(len(evaluated_run.labels)) % 11
    monkeypatch.setattr(
        Workspace, "load_votes", lambda workspace, split: np.stack([happy, 10 - happy], axis=1)
    )
    monkeypatch.setattr("fertool.score.suites.robustness.CORRUPTIONS", {"contrast": CORRUPTIONS["contrast"]})
    figures, columns = score_robustness(evaluated_run)
    assert columns["agreement"][:3] == pytest.approx([1.0, 0.9, 0.8])
    faces = {name: stratum["faces"] for name, stratum in figures["strata"]["agreement of FER+ votes"].items()}
    assert sum(faces.values()) == len(evaluated_run.labels) and faces["below 0.5"] == 0


def test_occluders_are_only_for_faces_with_landmarks(trained: Workspace) -> None:
    evaluated_run = evaluated(trained)
    lost = np.arange(len(evaluated_run.labels)) % 2 == 0
    evaluated_run.__dict__["located"] = ~lost  # as if the template's stood for half of the faces
    figures, columns = score_robustness(evaluated_run)
    assert figures["corruptions"]["mask"]["faces"] == (~lost).sum()
    assert figures["corruptions"]["noise"]["faces"] == len(lost)
    assert (np.isnan(columns["right_mask"]) == lost).all() and not np.isnan(columns["right_noise"]).any()
    assert np.isnan(columns["yaw_deg"][lost]).all()


def test_tables_compare_with_the_chosen_reference(scored: tuple[Figures, Columns]) -> None:
    figures, _ = scored
    worse = json.loads(json.dumps(figures))
    for corruption in worse["corruptions"].values():
        corruption["error"] = [2 * error for error in corruption["error"]]
    scores = [
        run_figures | {"run": name, "split": "test"} for name, run_figures in (("a", figures), ("b", worse))
    ]
    first = robustness_tables(scores)[0]
    assert [row[2] for row in first.rows] == ["100.0%", "200.0%"]
    assert [row[2] for row in robustness_tables(scores, reference="b")[0].rows] == ["50.0%", "100.0%"]
    with pytest.raises(UserError, match="--reference c: no such run"):
        robustness_tables(scores, reference="c")
    for table in robustness_tables(scores):
        assert all(len(row) == len(table.columns) for row in table.rows)
