"""Figures that would come out otherwise now are left out and named, wherever stored figures are read."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.explain.registry import EXPLAINERS
from fertool.masks import MaskSettings, make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.report import ReportSettings, write_report
from fertool.runtime.files import read_json, write_json
from fertool.score import ScoreSettings, score
from fertool.score.gather import find_stored, gather_scores, outdated_notes
from fertool.score.guidance.effects import gather_guidance
from fertool.score.registry import SUITES
from fertool.score.results.freshness import is_outdated
from fertool.workspace import Run, Workspace

PAGE = ReportSettings(only=["page"])  # figures for a paper take most of a report's time


@pytest.fixture(scope="module")
def scored_once(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained workspace with scores of classification and attention alone."""
    workspace = Workspace(shutil.copytree(trained.root, tmp_path_factory.mktemp("scored") / "ws"))
    shutil.rmtree(workspace.run("cnn").folder / "scores", ignore_errors=True)
    score(workspace, device="cpu")
    return workspace.root


@pytest.fixture
def workspace(scored_once: Path, tmp_path: Path) -> Workspace:
    """A copy of it."""
    return Workspace(shutil.copytree(scored_once, tmp_path / "copy"))


def gathered(workspace: Workspace) -> list[str]:
    return [entry.suite.name for entry in gather_scores(workspace, workspace.runs(), "test")]


def edit(place: Path, **made_from: object) -> None:
    record = read_json(place)
    record["made_from"] |= made_from
    write_json(place, record)


def test_what_is_up_to_date_is_shown(workspace: Workspace) -> None:
    assert gathered(workspace) == ["classification", "attention"]
    assert outdated_notes(workspace.runs(), find_stored(workspace, workspace.runs(), "test")[1]) == []


def test_figures_of_an_earlier_revision_are_left_out_and_named(workspace: Workspace) -> None:
    edit(workspace.run("cnn").scores("attention", "test", "gradcam", "predicted"), revision=1)
    assert gathered(workspace) == ["classification"]
    (note,) = outdated_notes(workspace.runs(), find_stored(workspace, workspace.runs(), "test")[1])
    assert note.startswith("cnn: attention of gradcam: made from other faces, masks or weights")
    assert note in write_report(workspace, PAGE).notes
    assert "'fertool score' makes them again" in workspace.report.read_text().replace("&#39;", "'")
    score(workspace, device="cpu")
    assert gathered(workspace) == ["classification", "attention"]


@pytest.mark.parametrize("suite", ["classification", "attention"])
def test_figures_of_other_weights_are_left_out(
    workspace: Workspace, with_other_weights: Callable, suite: str
) -> None:
    with_other_weights(workspace, "cnn", lambda state: [value.mul_(0.9) for value in state.values()])
    assert gathered(workspace) == []
    score(workspace, ScoreSettings(suites=[suite]), device="cpu")
    assert gathered(workspace) == [suite]


def test_figures_of_an_earlier_explainer_are_left_out_and_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = EXPLAINERS["gradcam"]
    monkeypatch.setitem(EXPLAINERS, "gradcam", replace(current, revision=current.revision + 1))
    assert gathered(workspace) == ["classification"]
    record = read_json(workspace.run("cnn").scores("attention", "test", "gradcam", "predicted"))
    score(workspace, device="cpu")
    assert gathered(workspace) == ["classification", "attention"]
    again = read_json(workspace.run("cnn").scores("attention", "test", "gradcam", "predicted"))
    assert again["made_from"] != record["made_from"] and again["overall"] == record["overall"]


def test_a_mark_of_outdated_sanity_is_no_mark(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    score(workspace, ScoreSettings(suites=["sanity"]), device="cpu")
    monkeypatch.setattr("fertool.score.gather.marked", lambda figures: True)

    def marks() -> list[bool]:
        gathered = gather_scores(workspace, workspace.runs(), "test")
        return [
            "cnn †" in str(table)
            for entry in gathered
            if entry.suite.name == "attention"
            for table in entry.tables
        ]

    assert any(marks())
    (stored,) = SUITES["sanity"].stored(workspace.run("cnn"), "test")
    place = stored.path
    edit(place, revision=1)
    assert marks() and not any(marks())


def test_on_other_faces_the_runs_own_predictions_are_known_as_its_own(
    workspace: Workspace, tmp_path: Path
) -> None:
    other = Workspace(tmp_path / "other")
    prepare(other, "synthetic", PrepareSettings(count=140, seed=9))
    make_masks(other)
    causal = ScoreSettings(suites=["causal"], fills=["mean"], target="label")
    agreement = ScoreSettings(suites=["causal-agreement"], target="label")
    score(workspace, causal, on=other, device="cpu")
    score(workspace, agreement, on=other, device="cpu", precision="bf16")
    run = workspace.run("cnn").on(other)
    place = run.scores("causal", "test")
    assert not is_outdated(other, run, place, SUITES["causal"].revision)


def test_shares_on_earlier_masks_are_left_out(workspace: Workspace) -> None:
    make_masks(workspace, MaskSettings(detector="template"), force=True)
    assert gathered(workspace) == ["classification"]


def test_another_number_format_of_the_same_run_outdates_nothing(workspace: Workspace) -> None:
    score(workspace, ScoreSettings(suites=["classification"]), device="cpu", precision="bf16")
    assert gathered(workspace) == ["classification", "attention"]


def test_predictions_made_elsewhere_count_as_they_are(workspace: Workspace) -> None:
    run = workspace.run("cnn")
    place = run.predictions("test")
    place.with_suffix(".json").unlink()
    assert "classification" in gathered(workspace)
    with np.load(place) as stored:
        logits, labels = stored["logits"], stored["labels"]
    np.savez(place, logits=-logits, labels=labels)
    assert gathered(workspace) == []


def test_heatmaps_that_were_removed_leave_the_tables_and_no_gallery(workspace: Workspace) -> None:
    write_report(workspace, PAGE)
    pictures = workspace.report.read_text().count("<img")
    shutil.rmtree(workspace.run("cnn").folder / "heatmaps")
    write_report(workspace, PAGE)
    assert pictures > 1 and "<img" not in workspace.report.read_text()
    assert gathered(workspace) == ["classification", "attention"]


def test_a_run_with_any_suite_is_scored(workspace: Workspace) -> None:
    workspace.run("cnn").scores("classification", "test").unlink()
    assert write_report(workspace, ReportSettings(runs=["cnn"], only=["tables"])).data["runs"] == ["cnn"]


def test_pictures_are_of_the_first_seed_that_has_such_figures(
    workspace: Workspace, replace_in_record
) -> None:
    other = workspace.run("other")
    copied = shutil.copytree(workspace.run("cnn").folder, other.folder) / "run.json"
    replace_in_record(copied, '"seed": 0', '"seed": 1')
    shutil.rmtree(workspace.run("cnn").folder / "scores" / "attention")
    write_report(workspace, PAGE)
    page = workspace.report.read_text()
    assert (
        'class="heat"' in page and ", seed 0: confusion matrix" in page and ", seed 1: confusion" not in page
    )


def test_a_sweep_of_which_nothing_is_known_has_no_figure(workspace: Workspace) -> None:
    for run in guided_runs(workspace):
        for suite in ("classification", "attention"):
            shutil.rmtree(run.folder / "scores" / suite)
    score(workspace, ScoreSettings(suites=["representation"]), runs=["g0", "g1"], device="cpu")
    write_report(workspace, ReportSettings(runs=["g0", "g1"], only=["page"]))
    assert "Over lambda" not in workspace.report.read_text()


def test_runs_that_were_not_scored_alike_are_named(workspace: Workspace, replace_in_record) -> None:
    other = workspace.run("other")
    copied = shutil.copytree(workspace.run("cnn").folder, other.folder) / "run.json"
    replace_in_record(copied, '"seed": 0', '"seed": 1')
    place = other.scores("attention", "test", "gradcam", "predicted")
    settings = read_json(place)["made_from"]["settings"]
    edit(place, settings=settings | {"run": "other", "jitter": 0.1})
    (attention,) = [
        entry
        for entry in gather_scores(workspace, workspace.runs(), "test")
        if entry.suite.name == "attention"
    ]
    assert (
        "These runs were not scored alike: their jitter is 0.0 (cnn, seed 0), 0.1 (cnn, seed 1)."
        in attention.tables[0].notes
    )


def guided_runs(workspace: Workspace) -> list[Run]:
    """Two copies of the run, as if of a sweep."""
    source = workspace.run("cnn").folder
    for name, weight in (("g0", 0.0), ("g1", 1.0)):
        place = shutil.copytree(source, workspace.run(name).folder) / "run.json"
        record = read_json(place)
        record |= {"name": name, "condition": name}
        record["config"] |= {"guide": "background", "guide_weight": weight}
        place.write_text(json.dumps(record))
    return [workspace.run(name) for name in ("g0", "g1")]


def test_guidance_is_not_judged_by_outdated_figures(workspace: Workspace) -> None:
    runs = guided_runs(workspace)

    def measured() -> set[str]:
        (guidance,) = gather_guidance(workspace, runs, "test")
        return {measure.kind.name for measure in guidance.measures}

    assert {"accuracy", "background share"} <= measured()
    for run in runs:
        edit(run.scores("attention", "test", "gradcam", "predicted"), revision=1)
    assert "accuracy" in measured() and "background share" not in measured()


def test_causes_of_other_masks_are_refused(workspace: Workspace) -> None:
    score(workspace, ScoreSettings(suites=["causal"], target="label", fills=["mean"]), device="cpu")
    score(
        workspace, ScoreSettings(suites=["causal-agreement"], target="label"), device="cpu", precision="bf16"
    )
    make_masks(workspace, MaskSettings(margin=0.1), force=True)
    with pytest.raises(UserError, match=r"of other faces, masks or weights.*--suite causal' again"):
        score(workspace, ScoreSettings(suites=["causal-agreement"], target="label"), device="cpu")
