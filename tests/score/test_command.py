import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.console import show
from fertool.errors import UserError
from fertool.explain.face_sample import draw_sample
from fertool.explain.methods.nulls import NULLS
from fertool.masks import MaskSettings, make_masks
from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.masks.regions import REGIONS
from fertool.prepare import PrepareSettings, prepare
from fertool.report import write_report
from fertool.report.settings import ReportSettings
from fertool.runtime.files import read_csv, read_json, write_csv, write_json, write_npz
from fertool.runtime.hardware import choose_compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.gather import gather_scores
from fertool.score.perturbations.corruptions import CORRUPTIONS
from fertool.score.registry import SUITES, chosen_suites
from fertool.score.suites.faithfulness import MEASURES
from fertool.score.suites.robustness import score_robustness
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace


@pytest.fixture
def workspace(trained: Workspace, tmp_path) -> Workspace:
    """A copy of the trained workspace, to spoil."""
    return Workspace(shutil.copytree(trained.root, tmp_path / "copy"))


def foreign_maps(workspace: Workspace, heatmaps: np.ndarray) -> None:
    """Put heatmaps made elsewhere into the run."""
    run = workspace.run("cnn")
    score(workspace, device="cpu")
    place = run.heatmaps("gradcam", "predicted", "test")
    place.with_suffix(".json").unlink(missing_ok=True)
    np.save(place, heatmaps.astype(np.float32))


def test_missing_heatmaps_are_made_first_and_figures_stored(workspace: Workspace) -> None:
    summary = score(workspace, device="cpu")
    run = workspace.run("cnn")
    assert run.heatmaps("gradcam", "predicted", "test").exists()
    stored = read_json(run.scores("attention", "test", "gradcam", "predicted"))
    assert summary.data["attention"][0] == stored | {
        key: summary.data["attention"][0][key]
        for key in ("run_label", "group", "label", "config", "cam_layer")
    }
    assert sum(stored["overall"]["share"].values()) == pytest.approx(1)
    assert sum(stored["overall"]["area"].values()) == pytest.approx(1)
    rows = read_csv(run.scores("attention", "test", "gradcam", "predicted").with_suffix(".csv"))
    mouth = [float(row["share_mouth"]) for row in rows if row["located"] == "1" and row["empty"] == "0"]
    assert np.mean(mouth) == pytest.approx(stored["overall"]["share"]["mouth"], abs=1e-5)

    classification = read_json(run.scores("classification", "test"))
    rows = read_csv(run.scores("classification", "test").with_suffix(".csv"))
    assert classification["accuracy"] == pytest.approx(np.mean([int(row["correct"]) for row in rows]))
    assert len(rows) == len(workspace.load_labels("test"))


def test_every_suite_scores_a_network_of_two_views(workspace: Workspace) -> None:
    train(workspace, TrainConfig(model="multiscale:cnn", epochs=1, lr=1e-3), name="two", device="cpu")
    settings = ScoreSettings(suites=["all"], target="label", faces=6)
    summary = score(workspace, settings, runs=["two"], device="cpu")
    suites = {suite.name for suite in chosen_suites(("all",), "label", truth_is_known=False)}
    assert suites == set(SUITES) - {"truth"} and suites <= summary.data.keys()
    for fill in summary.data["causal"][0]["fills"].values():
        logit = fill["logit"]
        moved = logit["all_seen"] - logit["nothing_seen"]
        assert sum(logit["shapley"].values()) == pytest.approx(moved, abs=1e-4) and moved != 0


def test_heatmaps_made_elsewhere_are_scored(workspace: Workspace) -> None:
    region_maps = workspace.load_region_maps("test")
    on_mouth = region_maps == REGIONS.index("mouth")
    foreign_maps(workspace, on_mouth)
    figures = score(workspace, device="cpu").data["attention"][0]["overall"]
    assert figures["share"]["mouth"] == pytest.approx(1)
    assert figures["lift"]["mouth"] == pytest.approx(1 / figures["area"]["mouth"])

    foreign_maps(workspace, np.ones((len(region_maps), 5, 9)))
    figures = score(workspace, device="cpu").data["attention"][0]["overall"]
    assert all(lift == pytest.approx(1) for lift in figures["lift"].values())


def test_empty_maps_are_counted_and_never_averaged_in(workspace: Workspace) -> None:
    on_mouth = np.array(workspace.load_region_maps("test") == REGIONS.index("mouth"), dtype=np.float32)
    on_mouth[:5] = -1
    foreign_maps(workspace, on_mouth)
    scores = score(workspace, device="cpu").data["attention"][0]
    assert scores["left_out"]["an empty map"] == 5
    assert scores["overall"]["faces"] == len(on_mouth) - 5
    assert scores["overall"]["share"]["mouth"] == pytest.approx(1)


def test_heatmaps_of_a_wrong_shape_are_one_line(workspace: Workspace) -> None:
    foreign_maps(workspace, np.ones((3, 7, 7)))
    with pytest.raises(UserError, match=r"shape \(3, 7, 7\) where"):
        score(workspace, device="cpu")


def test_faces_with_a_twin_in_train_are_scored_apart(
    workspace: Workspace, accept, trained_on_the_faces_here
) -> None:
    for split, row in (("train", 4), ("test", 2)):
        path = workspace.faces_csv(split)
        lines = path.read_text().splitlines()
        cells = lines[row + 1].split(",")
        cells[lines[0].split(",").index("twin_group")] = "7"
        lines[row + 1] = ",".join(cells)
        path.write_text("\n".join(lines) + "\n")
        accept(workspace, workspace.dataset_json, path)
    trained_on_the_faces_here(workspace, "cnn")
    scores = score(workspace, device="cpu").data["classification"][0]
    assert scores["faces"] - scores["without_twins_in_train"]["faces"] == 1
    rows = read_csv(workspace.run("cnn").scores("classification", "test").with_suffix(".csv"))
    assert [row["row"] for row in rows if row["twin_in_train"] == "1"] == ["2"]


def test_faces_with_a_near_twin_in_train_are_scored_apart(workspace: Workspace, accept) -> None:
    score(workspace, ScoreSettings(suites=("classification",)), device="cpu")
    assert (
        "near_twin_in_train"
        not in read_csv(workspace.run("cnn").scores("classification", "test").with_suffix(".csv"))[0]
    )
    write_csv(
        workspace.near_twins, ["split", "row", "near_group"], [("train", 4, 0), ("test", 2, 0), ("val", 1, 1)]
    )
    accept(workspace, workspace.dataset_json, workspace.near_twins)
    scores = score(workspace, ScoreSettings(suites=("classification",)), device="cpu").data["classification"][
        0
    ]
    assert scores["faces"] - scores["without_near_twins_in_train"]["faces"] == 1
    assert scores["with_near_twins_in_train"]["faces"] == 1
    rows = read_csv(workspace.run("cnn").scores("classification", "test").with_suffix(".csv"))
    assert [row["row"] for row in rows if row["near_twin_in_train"] == "1"] == ["2"]


def test_masks_of_other_faces_are_refused(workspace: Workspace, accept, trained_on_the_faces_here) -> None:
    np.save(workspace.faces("test"), np.load(workspace.faces("test"))[:, ::-1])
    accept(workspace, workspace.dataset_json, workspace.faces("test"))
    trained_on_the_faces_here(workspace, "cnn")
    with pytest.raises(UserError, match="region maps are of other faces; run 'fertool masks' again"):
        score(workspace, device="cpu")


def test_masks_are_needed(workspace: Workspace) -> None:
    shutil.rmtree(workspace.masks_json.parent)
    with pytest.raises(UserError, match="run 'fertool masks' first"):
        score(workspace, device="cpu")


def test_seeds_of_a_condition_share_a_row(workspace: Workspace, replace_in_record) -> None:
    other = shutil.copytree(workspace.run("cnn").folder, workspace.run("cnn-again").folder) / "run.json"
    replace_in_record(other, '"seed": 0', '"seed": 1')
    replace_in_record(other, '"name": "cnn"', '"name": "x"')
    tables = score(workspace, device="cpu").tables
    assert tables[0].rows[0][1] == "2"
    assert re.fullmatch(r"\d+\.\d ± 0\.0 \[\d+\.\d, \d+\.\d\]", tables[0].rows[0][2])


@pytest.fixture
def other_condition(workspace: Workspace, with_other_weights) -> Workspace:
    """The workspace with a second run, `other`: another network, as another condition would have trained it."""
    other = workspace.run("other")
    shutil.copytree(workspace.run("cnn").folder, other.folder)
    for results in ("predictions", "heatmaps", "scores"):
        shutil.rmtree(other.folder / results, ignore_errors=True)
    record = other.config()
    record |= {"name": "other", "condition": "cnn-other", "config": record["config"] | {"seed": 1}}
    write_json(other.run_json, record)

    def edit(state: dict[str, torch.Tensor]) -> None:
        generator = torch.Generator().manual_seed(1)
        for name, values in state.items():
            if values.is_floating_point():
                state[name] = values * (1 + 0.3 * torch.randn(values.shape, generator=generator))

    with_other_weights(workspace, "other", edit)
    return workspace


def right_answers(workspace: Workspace, run: str) -> list[bool]:
    """The faces of test that a run gets right."""
    rows = read_csv(workspace.run(run).scores("classification", "test").with_suffix(".csv"))
    return [row["correct"] == "1" for row in rows]


def test_two_conditions_are_compared_on_the_same_faces(other_condition: Workspace) -> None:
    workspace = other_condition
    summary = score(workspace, ScoreSettings(target="label"), device="cpu")
    comparisons = summary.data["attention_comparisons"]
    right = np.all([right_answers(workspace, name) for name in ("cnn", "other")], axis=0)
    assert ("faces that all get right" in comparisons) == (right.sum() > 1)
    (comparison,) = comparisons["all faces"]
    difference = {contrast["region"]: contrast for contrast in comparison["contrasts"]}[
        REGIONS.index("mouth")
    ]
    first, second = (
        summary.data["attention_joint"][name]["figures"]["share"]["mouth"] for name in comparison["names"]
    )
    assert difference["difference"] == pytest.approx(first - second, abs=1e-6)
    assert difference["low"] < difference["difference"] < difference["high"]
    notes = [note for table in summary.tables for note in table.notes]
    assert "One seed each: this table compares networks, not methods." in notes


def test_a_face_empty_in_one_run_is_dropped_from_all(other_condition: Workspace) -> None:
    workspace = other_condition
    everything = score(workspace, device="cpu").data["attention_comparisons"]["all faces"][0]["images"]
    place = workspace.run("cnn").heatmaps("gradcam", "predicted", "test")
    maps = np.load(place)
    counted = (maps.max(axis=(1, 2)) > 0).nonzero()[0]
    maps[counted[:3]] = 0
    np.save(place, maps)
    place.with_suffix(".json").unlink()
    data = score(workspace, device="cpu").data
    assert data["attention_comparisons"]["all faces"][0]["images"] == everything - 3
    joint = data["attention_joint"]
    (condition,) = [run["group"] for run in data["attention"] if run["run"] == "cnn"]
    assert joint[condition]["empty_rate"] > 0
    low, high = joint[condition]["bounds"]["mouth"]
    assert low < joint[condition]["figures"]["share"]["mouth"] < high


def test_a_common_grid_keeps_the_mass(workspace: Workspace) -> None:
    fine = score(workspace, device="cpu").data["attention"][0]
    pooled = score(workspace, ScoreSettings(grid=6), device="cpu").data["attention"][0]
    assert pooled["grid"] == [6, 6]
    assert pooled["ceiling"]["eyes"] < fine["ceiling"]["eyes"]
    assert sum(pooled["overall"]["share"].values()) == pytest.approx(1)


def test_figures_on_a_common_grid_lie_beside_the_models_own(workspace: Workspace) -> None:
    run = workspace.run("cnn")
    place = run.scores("attention", "test", "gradcam", "predicted")
    score(workspace, ScoreSettings(suites=["attention"]), device="cpu")
    own = place.read_bytes(), place.with_suffix(".csv").read_bytes()
    pooled = score(workspace, ScoreSettings(suites=["attention"], grid=6), device="cpu").data["attention"][0]
    assert (place.read_bytes(), place.with_suffix(".csv").read_bytes()) == own
    apart = read_json(run.scores("attention", "test", "gradcam", "predicted", 6))
    assert apart["overall"]["share"] == pooled["overall"]["share"] != json.loads(own[0])["overall"]["share"]
    gathered = [entry for entry in gather_scores(workspace, [run], "test") if entry.suite.name == "attention"]
    assert [(entry.settings.grid, entry.scores[0]["grid"]) for entry in gathered] == [
        (None, [12, 12]),
        (6, [6, 6]),
    ]


@pytest.mark.parametrize(
    ("asked", "target", "chosen"),
    [
        (("robustness",), "predicted", ["robustness"]),
        (("robustness-attention", "robustness"), "sad", ["robustness", "robustness-attention"]),
        (("causal",), "label", ["causal", "causal-agreement"]),
        (("causal",), "sad", ["causal"]),
    ],
)
def test_what_a_suite_brings_along(asked: tuple[str, ...], target: str, chosen: list[str]) -> None:
    assert [suite.name for suite in chosen_suites(asked, target, truth_is_known=False)] == chosen
    everything = [suite.name for suite in chosen_suites(("all",), target, truth_is_known=False)]
    assert set(chosen) <= set(everything) and "truth" not in everything


def test_errors_under_corruption_are_scored_once_whatever_is_explained(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("robustness", "robustness_attention"):
        monkeypatch.setattr(
            f"fertool.score.suites.{module}.CORRUPTIONS", {"contrast": CORRUPTIONS["contrast"]}
        )
    run = workspace.run("cnn")
    first = score(workspace, ScoreSettings(suites=["robustness"]), device="cpu")
    assert set(first.data) == {"split", "robustness"}
    place = run.scores("robustness", "test")
    before = place.stat().st_mtime_ns
    suites = ["robustness", "robustness-attention"]
    for explainer, target in (("gradcam", "predicted"), ("gradcam", "label"), ("hirescam", "label")):
        data = score(workspace, ScoreSettings(explainer, suites=suites, target=target), device="cpu").data
        assert data["robustness"] == first.data["robustness"]
        assert data["robustness-attention"][0]["explainer"] == explainer
        assert run.scores("robustness-attention", "test", explainer, target).exists()
    assert place.stat().st_mtime_ns == before
    assert len(SUITES["robustness"].stored(run, "test")) == 1


def test_sanity_has_one_place_an_explainer_and_marks_its_maps_of_every_target(workspace: Workspace) -> None:
    run = workspace.run("cnn")
    score(workspace, ScoreSettings(suites=["sanity"], target="label"), device="cpu")
    (stored,) = SUITES["sanity"].stored(run, "test")
    place = stored.path
    before = place.stat().st_mtime_ns
    score(workspace, ScoreSettings(suites=["sanity"], target="predicted"), device="cpu")
    assert SUITES["sanity"].stored(run, "test") == [stored] and place.stat().st_mtime_ns == before
    write_json(place, read_json(place) | {"changes": False})
    for target in ("predicted", "label"):
        tables = score(workspace, ScoreSettings(suites=["attention"], target=target), device="cpu").tables
        assert all(row[0] == "cnn †" for table in tables for row in table.rows if row[0].startswith("cnn"))
        assert any(table.title.startswith("cnn †: ") for table in tables)
        assert all(
            any(note.startswith("† cnn: ") for note in table.notes) == ("†" in str(table)) for table in tables
        )
    assert "†" not in str(score(workspace, ScoreSettings(suites=["sanity"]), device="cpu").tables)


def test_marks_stand_in_the_tables_of_the_call_that_found_them(workspace: Workspace) -> None:
    shutil.rmtree(workspace.run("cnn").folder / "scores", ignore_errors=True)
    # a null looks at no weights, so that its map does not change
    settings = ScoreSettings("centre", suites=["attention", "sanity"], nulls=False)
    tables = score(workspace, settings, device="cpu").tables
    assert tables[0].title.startswith("centre") and tables[0].rows[0][0] == "cnn †"


def test_the_mark_stands_at_the_run_that_earned_it(
    other_condition: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fertool.score.gather._is_marked", lambda evaluated, _settings: evaluated.run.name == "other"
    )
    tables = score(other_condition, ScoreSettings(suites=["attention"], nulls=False), device="cpu").tables
    first_cells = {row[0] for table in tables for row in table.rows}
    assert "other †" in first_cells and "cnn" in first_cells and not {"other", "cnn †"} & first_cells
    assert {table.title.partition(":")[0] for table in tables} >= {"other †", "cnn"}
    for table in tables:
        assert any(note.startswith("† other: ") for note in table.notes) == ("other †" in str(table))
        assert not any(note.startswith("† cnn: ") for note in table.notes)


def test_nulls_stand_beside_each_model(workspace: Workspace) -> None:
    attention = score(workspace, device="cpu").data["attention"][0]
    assert set(attention["nulls"]) == {"uniform", "random", "edges", "centre", "swapped"}
    for region, area in attention["overall"]["area"].items():
        assert attention["nulls"]["uniform"][region] == pytest.approx(area, abs=1e-6)
    assert attention["nulls"]["centre"]["nose"] > attention["nulls"]["uniform"]["nose"]


def test_figures_without_nulls_are_scored_again_with_them_and_never_the_other_way_round(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_nulls: list[bool] = []

    def score_faithfulness(evaluated, request, target, *, nulls, seed):
        with_nulls.append(nulls)
        maps = ["gradcam", *NULLS] if nulls else ["gradcam"]
        none = {f"{measure}{suffix}": None for measure in MEASURES for suffix in ("", "_interval")}
        figures = {"faces": 0, "counted": 0, "left_out": {}, "maps": dict.fromkeys(maps, none)}
        return figures, {"road": np.zeros(len(evaluated.labels))}

    monkeypatch.setattr("fertool.score.suites.faithfulness.score_faithfulness", score_faithfulness)
    place = workspace.run("cnn").scores("faithfulness", "test", "gradcam", "predicted")

    def scored(nulls: bool, **options: bool) -> list[bool]:
        """Whether what had to be scored was scored with nulls."""
        with_nulls.clear()
        score(workspace, ScoreSettings(suites=["faithfulness"], nulls=nulls), device="cpu", **options)
        return list(with_nulls)

    assert scored(False) == [False] and scored(False) == []
    assert scored(True) == [True]
    fuller = place.read_bytes()
    assert scored(False) == [] and scored(True) == []
    assert place.read_bytes() == fuller and set(NULLS) < set(read_json(place)["maps"])
    assert scored(False, force=True) == [False] and list(read_json(place)["maps"]) == ["gradcam"]


def test_jitter_says_how_far_shares_move(workspace: Workspace) -> None:
    small, large = (
        score(workspace, ScoreSettings(jitter=jitter), device="cpu").data["attention"][0]["jitter"][
            "face_moves"
        ]["mouth"]
        for jitter in (0.02, 0.1)
    )
    assert 0 < small < large


def test_zero_jitter_moves_nothing_whatever_the_margin(workspace: Workspace) -> None:
    make_masks(workspace, MaskSettings(margin=0.15))
    (attention,) = score(workspace, ScoreSettings(suites=["attention"], jitter=1e-9), device="cpu").data[
        "attention"
    ]
    assert all(
        move == 0 for kind in ("mean_moves", "face_moves") for move in attention["jitter"][kind].values()
    )


def test_a_seed_trained_twice_counts_once(workspace: Workspace, replace_in_record) -> None:
    for name, seed in (("cnn-again", 0), ("cnn-other", 1)):
        copied = shutil.copytree(workspace.run("cnn").folder, workspace.run(name).folder) / "run.json"
        replace_in_record(copied, '"seed": 0', f'"seed": {seed}')
    summary = score(workspace, device="cpu")
    assert [run["run"] for run in summary.data["classification"]] == ["cnn", "cnn-other"]
    assert [row[1] for row in summary.tables[0].rows] == ["2"]
    note = "left out, because cnn has the same settings and seed: cnn-again"
    assert summary.notes.count(note) == 1
    alone = score(workspace, runs=["cnn-again", "cnn-again"], device="cpu")
    assert not alone.notes and alone.tables[0].rows[0][1] == "1"

    report = write_report(workspace, ReportSettings(only=("page",)))
    assert report.data["runs"] == ["cnn", "cnn-other"]
    assert note in report.notes and note in workspace.report.read_text()


def no_number(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


NEED_LANDMARKS = ("causal", "causal-agreement", "robustness-attention")


def test_without_landmarks_a_suite_that_needs_them_is_refused_before_anything_runs(
    workspace: Workspace,
) -> None:
    make_masks(workspace, MaskSettings(detector="template"))
    before = sorted(workspace.root.rglob("*"))
    for name in NEED_LANDMARKS:
        said = f"--suite {name}: .*no face of 'test' that is scored has landmarks of its own; leave it out, or run"
        with pytest.raises(UserError, match=said):
            score(workspace, ScoreSettings(suites=["classification", name], target="label"), device="cpu")
    assert (
        sorted(workspace.root.rglob("*")) == before and not workspace.run("cnn").predictions("test").exists()
    )


def test_without_landmarks_every_suite_is_every_one_that_needs_none(workspace: Workspace) -> None:
    make_masks(workspace, MaskSettings(detector="template"))
    summary = score(workspace, ScoreSettings(suites=["all"], target="label", faces=8), device="cpu")
    assert set(SUITES) & summary.data.keys() == set(SUITES) - {*NEED_LANDMARKS, "truth"}
    (note,) = [note for note in summary.notes if "has landmarks of its own" in note]
    assert note.endswith(
        "own: causal, causal-agreement, robustness-attention left out; score more --faces, or run 'fertool masks' "
        "with another detector"
    )


def test_landmarks_are_looked_for_in_the_sample(
    workspace: Workspace, accept: Callable[[Workspace, Path, Path], None]
) -> None:
    labels = workspace.load_labels("test")
    sample = draw_sample(labels, 7, 0)
    assert sample is not None
    path = workspace.landmarks("test")
    masks = workspace.load_landmarks("test")
    masks["detector"][sample.rows] = TEMPLATE
    write_npz(path, **masks)
    accept(workspace, workspace.masks_json, path)
    settings = ScoreSettings(suites=["causal"], target="label", faces=7)
    with pytest.raises(UserError, match="score more --faces, or run 'fertool masks'"):
        score(workspace, settings, device="cpu")
    assert (
        score(workspace, replace(settings, faces=None), device="cpu").data["causal"][0]["counted"]
        == len(labels) - 7
    )


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_without_landmarks_there_is_valid_json(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    make_masks(workspace, MaskSettings(detector="template"))
    summary = score(workspace, ScoreSettings(jitter=0.1), device="cpu")
    show(summary, as_json=True)
    printed = json.loads(capsys.readouterr().out, parse_constant=no_number)
    for place in (workspace.run("cnn").folder / "scores").rglob("*.json"):
        json.loads(place.read_text(), parse_constant=no_number)
    (joint,) = printed["attention_joint"].values()
    assert joint == {"figures": None, "empty_rate": None, "bounds": None}
    show(summary, as_json=False)
    assert "nan" not in capsys.readouterr().out


def test_of_a_single_cluster_there_are_no_intervals(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        EvaluatedRun, "clusters", property(lambda evaluated: np.zeros(len(evaluated.labels), int))
    )
    summary = score(workspace, device="cpu", force=True)
    summary.data["robustness"], _ = score_robustness(
        EvaluatedRun(workspace, workspace.run("cnn"), "test", choose_compute("cpu", "fp32"))
    )
    printed = json.loads(json.dumps(summary.data, allow_nan=False))
    assert printed["classification"][0]["intervals"]["accuracy"] == [None, None]
    assert printed["robustness"]["clean_interval"] == [None, None]
    cell = f"{100 * printed['classification'][0]['accuracy']:.1f}"
    assert summary.tables[0].rows[0][2] == cell


def test_figures_without_numbers_of_earlier_files_are_read(workspace: Workspace) -> None:
    place = workspace.root / "old.json"
    place.write_text('{"limits": [NaN, 0.5]}')
    assert read_json(place) == {"limits": [None, 0.5]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suites": ["attenton"]}, "no such suite; there are classification, attention"),
        ({"by": ["modell"]}, "no such field in run.json"),
        ({"contrasts": ["chin"]}, "no such region"),
        ({"grid": 0}, "must be from 1 to 256 cells"),
        ({"grid": 4000}, "must be from 1 to 256 cells"),
        ({"jitter": 1e300}, "must be from 0 to 1 inter-ocular distances"),
        ({"seed": -1}, "--seed -1"),
        ({"jitter": -1.0}, "from 0 to 1"),
        ({"jitter": float("nan")}, "from 0 to 1"),
        ({"target": "all"}, "scores are of one target"),
        ({"explainer": "gradcan"}, "no explainer 'gradcan'"),
        ({"fills": ["grey"]}, "no fill 'grey'"),
        ({"tta": "five"}, "there are flip, tencrop"),
    ],
)
def test_wrong_questions_are_one_line(trained: Workspace, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(trained, ScoreSettings(**arguments), device="cpu")


def test_suites_may_stand_behind_commas(trained: Workspace) -> None:
    data = score(trained, ScoreSettings(suites=["attention, classification"]), device="cpu").data
    assert {"classification", "attention"} <= set(data)


def test_an_empty_workspace_asks_for_faces_first(tmp_path) -> None:
    with pytest.raises(UserError, match="no faces here"):
        score(Workspace(tmp_path), device="cpu")


def test_a_run_is_scored_on_other_faces(workspace: Workspace, tmp_path) -> None:
    """Another data set, whose classes are fewer and so have other codes."""
    other = Workspace(tmp_path / "other")
    prepare(other, "synthetic", PrepareSettings(count=210, seed=7, classes=["happy", "surprise"]))
    make_masks(other)
    run = workspace.run("cnn")
    own = run.scores("classification", "test")
    before = own.read_bytes() if own.exists() else None
    summary = score(workspace, on=other, device="cpu")
    assert "no faces of angry, disgust, fear, neutral, sad there" in summary.notes[0]
    classification = summary.data["classification"][0]
    assert classification["faces"] == len(other.load_faces("test"))
    assert (
        classification["per_class"]["happy"]["faces"] + classification["per_class"]["surprise"]["faces"]
        == classification["faces"]
    )
    assert (own.read_bytes() if own.exists() else None) == before, "its own results are left alone"
    assert run.on(other).scores("classification", "test").exists()
    with np.load(run.on(other).predictions("test")) as stored:
        right = stored["logits"].argmax(axis=1) == stored["labels"]
    assert classification["accuracy"] == pytest.approx(right.mean())


def test_other_faces_with_unknown_classes_are_refused(
    workspace: Workspace, tmp_path, replace_in_record
) -> None:
    other = Workspace(tmp_path / "other")
    prepare(other, "synthetic", PrepareSettings(count=140))
    make_masks(other)
    replace_in_record(other.dataset_json, '"happy"', '"amused"')
    with pytest.raises(UserError, match="the run knows no class 'amused'"):
        score(workspace, on=other, device="cpu")
