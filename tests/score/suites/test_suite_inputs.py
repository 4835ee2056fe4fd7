import shutil

import numpy as np
import pytest

from fertool.explain import ExplainSettings, explain
from fertool.explain.heatmaps import RectifiedMaps
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import Request, parse_request
from fertool.runtime.hardware import choose_compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.faithfulness import score_faithfulness
from fertool.score.suites.suite_inputs import maps_beside_nulls, with_heat
from fertool.workspace import Workspace


@pytest.fixture
def workspace(trained: Workspace, tmp_path) -> Workspace:
    """A copy of the trained workspace without any heatmaps."""
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    shutil.rmtree(workspace.run("cnn").folder / "heatmaps", ignore_errors=True)
    return workspace


def evaluated_run(workspace: Workspace) -> EvaluatedRun:
    return EvaluatedRun(workspace, workspace.run("cnn"), "test", choose_compute("cpu", "fp32"))


@pytest.mark.parametrize(
    "explainer", ["gradcam", "input-gradient"]
)  # whose negative cells are read differently
def test_nulls_are_those_that_explain_stores_and_are_not_stored(workspace: Workspace, explainer: str) -> None:
    evaluated, request = evaluated_run(workspace), parse_request(explainer)
    maps = maps_beside_nulls(evaluated, request, "label")
    score(workspace, ScoreSettings(explainer, suites=["attention"], target="label"), device="cpu")
    heatmaps = workspace.run("cnn").folder / "heatmaps"
    assert [folder.name for folder in heatmaps.iterdir()] == [explainer]

    explain(
        workspace, ExplainSettings([f"{name}@of={explainer}" for name in NULLS], target="label", device="cpu")
    )
    assert list(maps) == [explainer, *NULLS]
    for name, null in NULLS.items():
        stored = evaluated.heatmaps(Request(request.explainer, null), "label").rectified()
        assert maps[name].shape == stored.shape and maps[name][:].dtype == stored.dtype
        assert np.array_equal(maps[name][:], stored)
        assert np.array_equal(maps[name][np.array([5, 2])], stored[[5, 2]])
        assert np.array_equal(maps[name][7:11], stored[7:11])


def test_a_null_that_is_itself_explained_is_stored_and_stands_beside_its_explainers_nulls(
    workspace: Workspace,
) -> None:
    request = parse_request("swapped@of=gradcam")
    maps = maps_beside_nulls(evaluated_run(workspace), request, "label")
    assert workspace.run("cnn").heatmaps(request.key, "label", "test").exists()
    assert list(maps) == [request.key, *NULLS]
    assert np.array_equal(maps[request.key][:], maps["swapped"][:])


def test_maps_are_asked_for_a_few_rows_at_a_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a split whose maps are more than memory holds is scored."""
    asked: list[int] = []
    read_rows = RectifiedMaps.__getitem__

    def noted(maps: RectifiedMaps, rows: np.ndarray | slice) -> np.ndarray:
        found = read_rows(maps, rows)
        asked.append(len(found))
        return found

    monkeypatch.setattr(RectifiedMaps, "__getitem__", noted)
    monkeypatch.setattr("fertool.score.suites.map_batches.MOST_CELLS", 8 * 12 * 12)
    monkeypatch.setattr("fertool.explain.heatmaps.MEMORY_BYTES", 4 * 8 * 12 * 12)
    monkeypatch.setattr("fertool.score.suites.faithfulness.BATCH_FACES", 8)
    monkeypatch.setattr(
        "fertool.score.suites.truth.known_planes", lambda evaluated: {"evidence": evaluated.region_maps == 5}
    )
    score(workspace, ScoreSettings(suites=["attention", "truth"], target="label"), device="cpu")
    score_faithfulness(
        evaluated_run(workspace), parse_request("gradcam"), "label", steps=1, faces=9, nulls=False
    )
    assert len(asked) > 30 and max(asked) == 8


def test_a_face_has_heat_where_none_of_its_maps_is_empty() -> None:
    maps = np.zeros((2, 4, 3, 3), np.float32)
    maps[0, :3, 1, 1] = maps[1, 1:, 0, 2] = 1e-30
    both_maps = [RectifiedMaps(heatmaps.shape, heatmaps.__getitem__) for heatmaps in maps]
    assert with_heat(both_maps).tolist() == [False, True, True, False]
