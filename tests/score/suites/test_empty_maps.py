"""Maps without heat, as guidance can bring about, are counted and named in every suite of heatmaps."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fertool.console import show
from fertool.explain.explainer import Explanation
from fertool.explain.registry import EXPLAINERS
from fertool.masks.regions import MOUTH, REGIONS
from fertool.runtime.files import read_json, write_json
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.gather import gather_scores
from fertool.score.perturbations.corruptions import CORRUPTIONS
from fertool.score.registry import SUITES
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.score.suites.causal import cause_column
from fertool.summary import Summary
from fertool.workspace import Workspace

ROW = 3  # the face that has a map where one has
OF_HEATMAPS = [suite.name for suite in SUITES.values() if suite.explains]

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture
def workspace(trained: Workspace, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the trained workspace, with some causes for the run's answers; little is tried on it."""
    monkeypatch.setattr("fertool.score.suites.faithfulness.ROAD_SHARES", (0.1, 0.5))
    two = {name: CORRUPTIONS[name] for name in ("contrast", "noise")}
    monkeypatch.setattr("fertool.score.suites.robustness_attention.CORRUPTIONS", two)
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    rng, faces = np.random.default_rng(0), len(workspace.load_faces("test"))
    causes = {cause_column("label", "mean", region): rng.random(faces) for region in REGIONS}
    record = workspace.run("cnn").scores("causal", "test")
    write_columns(record.with_suffix(".csv"), causes)
    write_json(record, {})
    return workspace


@pytest.fixture
def all_suites(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[float], Summary]:
    """Score every suite of heatmaps, all maps being empty but that of one face, which has so much heat."""
    monkeypatch.setattr(
        "fertool.score.suites.truth.known_planes",
        lambda evaluated: {"evidence": np.array(evaluated.region_maps == MOUTH)},
    )
    gradcam, face = EXPLAINERS["gradcam"], torch.from_numpy(np.array(workspace.load_faces("test")[ROW]))

    def scored(heat: float) -> Summary:
        def explain(model, pixels, choose, **options) -> Explanation:
            with torch.no_grad():
                logits = model(pixels)
            hot = (pixels == face).flatten(1).all(dim=1)
            maps = heat * hot[:, None, None, None] * torch.arange(144.0).view(1, 1, 12, 12)
            return Explanation(maps, logits)

        causal = workspace.run("cnn").scores("causal", "test")
        write_json(causal, {})
        monkeypatch.setitem(EXPLAINERS, "gradcam", replace(gradcam, explain=explain, revision=99))
        summary = score(workspace, ScoreSettings("gradcam", suites=OF_HEATMAPS, target="label"), device="cpu")
        show(summary, as_json=True)  # which refuses nan
        show(summary, as_json=False)
        assert "nan" not in capsys.readouterr().out
        causal.unlink()  # it has no figures to show
        gathered = gather_scores(workspace, [workspace.run("cnn")], "test")
        assert {entry.suite.name for entry in gathered if entry.suite.explains} == set(OF_HEATMAPS)
        return summary

    return scored


def stored_columns(workspace: Workspace, suite: str) -> dict[str, np.ndarray]:
    return read_columns(workspace.run("cnn").scores(suite, "test", "gradcam", "label").with_suffix(".csv"))


def tables_of(summary: Summary, words: str) -> list[Any]:
    return [table for table in summary.tables if words in table.title]


def test_no_map_has_heat(workspace: Workspace, all_suites: Callable[[float], Summary]) -> None:
    summary = all_suites(0.0)
    data, faces = summary.data, len(workspace.load_faces("test"))
    (attention,), (faithfulness,) = data["attention"], data["faithfulness"]
    assert attention["left_out"]["an empty map"] == faces and attention["overall"] is None
    for name in ("faithfulness", "causal-agreement"):
        (run_figures,) = data[name]
        assert run_figures["counted"] == 0 and run_figures["left_out"]["an empty map"] == faces
        assert all(
            np.isnan(stored_columns(workspace, name)[column]).all()
            for column in (("road", "deletion_swapped") if name == "faithfulness" else ("told_mean",))
        )
    assert faithfulness["maps"]["gradcam"]["road"] is None
    assert faithfulness["maps"]["centre"]["deletion_interval"] == [None, None]
    told = data["causal-agreement"][0]["fills"]["mean"]["gradcam"]["signed"]
    assert told["within"]["correlation"] is None and told["across"]["correlation"] is None
    (spoilt,) = data["robustness-attention"]
    assert spoilt["clean"]["empty"] == [faces] and spoilt["clean"]["share"]["mouth"] == [None]
    assert data["truth"][0]["planes"]["evidence"]["gradcam"] is None

    (sanity,) = data["sanity"]
    assert sanity["empty"] == {"rectified": faces, "raw": faces}
    assert sanity["steps"][-1]["similarity"]["raw"]["mean"] is None
    (table,) = tables_of(summary, "similarity of maps")
    assert [row[-1] for row in table.rows] == ["-", "-"]
    assert (
        f"cnn: {faces} rectified and {faces} raw maps of {faces} faces are empty and are left out."
        in table.notes
    )
    assert not any("†" in str(table) for table in summary.tables)
    (table,) = tables_of(summary, "truth on test")
    assert table.rows[0][2:] == ["gradcam", *["-"] * 5]
    (table,) = tables_of(summary, "gradcam on spoilt faces")
    assert table.rows[0][-1] == str(faces)

    for words in ("share of each region, %", "lift, share over area", "how the heat lies"):
        (table,) = [table for table in tables_of(summary, words) if not table.detail]
        assert table.rows[0][2:8].count("-") >= 5
    (shares,) = [table for table in tables_of(summary, "share of each region, %") if not table.detail]
    assert any("100.0% of maps are empty." in note for note in shares.notes)
    for table in (*tables_of(summary, ": faithfulness"), *tables_of(summary, "does attention tell")):
        assert all(cell == "-" for row in table.rows for cell in row[2:])
        assert f"cnn: 0 of {faces} faces scored, {faces} left out (an empty map)." in table.notes


def test_one_map_has_heat(workspace: Workspace, all_suites: Callable[[float], Summary]) -> None:
    summary = all_suites(1.0)
    data, faces = summary.data, len(workspace.load_faces("test"))
    (attention,) = data["attention"]
    assert attention["overall"]["faces"] == 1
    assert sum(attention["overall"]["share"].values()) == pytest.approx(1)
    assert attention["nulls"]["swapped"] == dict.fromkeys(REGIONS), "the other face's map is empty"
    assert sum(attention["nulls"]["centre"].values()) == pytest.approx(1)
    (shares,) = [table for table in tables_of(summary, "share of each region, %") if not table.detail]
    cells = {row[0].strip(): row[2:] for row in shares.rows}
    assert cells["null: swapped"] == ["-"] * len(REGIONS) and "-" not in cells["null: centre"]
    for name in ("faithfulness", "causal-agreement"):
        assert data[name][0]["counted"] == 0, "a null's map of that face is empty"
    assert data["truth"][0]["planes"]["evidence"]["gradcam"]["faces"] == 1
    assert data["robustness-attention"][0]["clean"]["empty"] == [faces - 1]


def test_one_face_is_scored_whose_own_map_and_whose_nulls_have_heat(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two maps have heat: one is the other's face's in the null `swapped`."""
    following = np.roll(np.arange(len(workspace.load_faces("test"))), -1)
    monkeypatch.setattr("fertool.explain.methods.nulls._following", lambda faces: following)
    maps = np.zeros((len(following), 5, 5), np.float32)
    maps[ROW : ROW + 2] = np.arange(25).reshape(5, 5)
    put(workspace, "cnn", maps)
    suites = ["attention", "causal-agreement", "faithfulness"]
    data = score(workspace, ScoreSettings(suites=suites, target="label"), device="cpu").data
    json.dumps(data, allow_nan=False)
    for name in ("faithfulness", "causal-agreement"):
        assert data[name][0]["counted"] == 1
    assert np.flatnonzero(np.isfinite(stored_columns(workspace, "faithfulness")["road_swapped"])) == [ROW]
    assert data["faithfulness"][0]["maps"]["gradcam"]["road_interval"] == [None, None]


def put(workspace: Workspace, run: str, maps: np.ndarray) -> None:
    """Maps made elsewhere, for the label's class."""
    place = workspace.run(run).heatmaps("gradcam", "label", "test")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".json").unlink(missing_ok=True)
    np.save(place, maps)


def with_second_run(workspace: Workspace, seed: int, **config: object) -> None:
    copied = shutil.copytree(workspace.run("cnn").folder, workspace.run("other").folder) / "run.json"
    record = read_json(copied)
    record["config"] |= {"seed": seed, **config}
    copied.write_text(json.dumps(record))


@pytest.mark.parametrize("by", [["seed"], []], ids=["beside it", "of its condition"])
def test_a_run_without_maps_takes_none_from_the_others(workspace: Workspace, by: list[str]) -> None:
    with_second_run(workspace, 1)
    maps = np.ones((len(workspace.load_faces("test")), 5, 5), np.float32)
    put(workspace, "cnn", maps)
    put(workspace, "other", 0 * maps)
    summary = score(workspace, ScoreSettings(suites=["attention"], target="label", by=by), device="cpu")
    (shares,) = [table for table in tables_of(summary, "share of each region, %") if not table.detail]
    alone = summary.data["attention"][0]["overall"]
    assert alone["faces"] == len(maps)
    assert shares.rows[0][2].split()[0] == f"{100 * alone['share'][REGIONS[0]]:.1f}"
    assert "null" in shares.rows[1][0] and "-" not in shares.rows[1]
    without = "other" if by == "run" else "cnn, seed 1"
    assert f"{without}: no map to score, so left out of means and differences." in shares.notes
    assert not tables_of(summary, "differences")


def test_runs_that_share_no_face_with_a_map_are_named(workspace: Workspace) -> None:
    with_second_run(workspace, 1)
    maps = np.ones((len(workspace.load_faces("test")), 5, 5), np.float32)
    odd = (np.arange(len(maps)) % 2).astype(np.float32)[:, None, None]
    put(workspace, "cnn", maps * odd)
    put(workspace, "other", maps * (1 - odd))
    summary = score(workspace, ScoreSettings(suites=["attention"], target="label", by=["seed"]), device="cpu")
    (shares,) = [table for table in tables_of(summary, "share of each region, %") if not table.detail]
    assert [row[2] for row in shares.rows] == ["-", "-"]
    assert any(
        note.startswith("No face has landmarks and a map in all of these runs") for note in shares.notes
    )
    assert any("% of maps are empty." in note for note in shares.notes)


def test_the_mean_over_seeds_leaves_out_a_null_without_heat(workspace: Workspace) -> None:
    with_second_run(workspace, 1)
    ones = np.ones((len(workspace.load_faces("test")), 5, 5), np.float32)
    put(workspace, "cnn", ones * (np.arange(len(ones)) == ROW)[:, None, None])
    put(workspace, "other", ones)
    summary = score(workspace, ScoreSettings(suites=["attention"], target="label"), device="cpu")
    first, second = summary.data["attention"]
    assert first["nulls"]["swapped"]["mouth"] is None
    (shares,) = [table for table in tables_of(summary, "share of each region, %") if not table.detail]
    cells = {row[0].strip(): row[2:] for row in shares.rows}
    mouth = second["nulls"]["swapped"]["mouth"]
    assert cells["null: swapped"][REGIONS.index("mouth")] == f"{100 * mouth:.1f}"


def test_without_landmarks_no_share_is_compared_with_causes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as of a sample without any, which the suites' own functions may be given
    monkeypatch.setattr(EvaluatedRun, "located", property(lambda run: np.zeros(len(run.labels), dtype=bool)))
    (run_figures,) = score(
        workspace, ScoreSettings(suites=["causal-agreement"], target="label"), device="cpu"
    ).data["causal-agreement"]
    assert run_figures["counted"] == 0
    assert run_figures["fills"]["mean"]["gradcam"]["size"]["within"]["correlation"] is None
