"""Maps and predictions that were made elsewhere, brought into a run by a command."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fertool.cli import app
from fertool.errors import UserError
from fertool.explain import ExplainSettings, ImportSettings, explain, import_results
from fertool.report.listing import list_runs
from fertool.score import ScoreSettings, score
from fertool.workspace import Workspace


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    others = shutil.ignore_patterns("heatmaps", "predictions", "scores")
    return Workspace(shutil.copytree(trained.root, tmp_path / "copy", ignore=others))


@pytest.fixture
def own_maps(workspace: Workspace) -> np.ndarray:
    explain(workspace, ExplainSettings(target="label", device="cpu"))
    return np.load(workspace.run("cnn").heatmaps("gradcam", "label", "test"))


def write_ids(path: Path, ids: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "age"], *([name, 30] for name in ids)])
    return path


def ids_of(workspace: Workspace) -> list[str]:
    return [row["id"] for row in workspace.load_face_rows("test")]


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_imported_maps_are_scored_as_those_that_they_are(
    workspace: Workspace, own_maps: np.ndarray, tmp_path: Path
) -> None:
    order = np.random.default_rng(1).permutation(len(own_maps))
    np.save(tmp_path / "maps.npy", own_maps[order].astype(np.float64))
    ids = write_ids(tmp_path / "ids.csv", [ids_of(workspace)[row] for row in order])
    done = invoke("explain", "-w", workspace.root, "--import", tmp_path / "maps.npy", "--run", "cnn",
                  "--explainer-name", "my-method", "--target", "label", "--ids", ids)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "fertool score --run cnn --explainer imported:my-method --target label" in " ".join(
        done.stdout.split()
    )
    place = workspace.run("cnn").heatmaps("imported:my-method", "label", "test")
    assert np.array_equal(np.load(place), own_maps)
    shares = [
        score(workspace, ScoreSettings(each, suites=["attention"], target="label"), device="cpu").data[
            "attention"
        ][0]["overall"]
        for each in ("gradcam", "imported:my-method")
    ]
    assert shares[0]["share"] == shares[1]["share"] and shares[0]["lift"] == shares[1]["lift"]
    assert list_runs(workspace).data["runs"][0]["explainers"] == ["gradcam", "imported:my-method"]
    notes = explain(workspace, ExplainSettings(["imported:my-method"], target="label", device="cpu")).notes
    assert notes[0].endswith("imported from maps.npy")


def test_negative_cells_are_read_by_the_rule_that_is_given(
    workspace: Workspace, own_maps: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "maps.npy", -np.abs(own_maps))
    empty = {}
    for rule in ("drop", "absolute"):
        settings = ImportSettings(
            tmp_path / "maps.npy", explainer_name="mine", target="label", negatives=rule
        )
        data = import_results(workspace, settings).data
        empty[rule] = data["empty"]
        assert data["negatives"] == rule
    assert empty["drop"] == len(own_maps) and empty["absolute"] < len(own_maps)
    settings = ScoreSettings("imported:mine@negatives=absolute", suites=["attention"], target="label")
    (figures,) = score(workspace, settings, device="cpu").data["attention"]
    assert figures["overall"]["share"]["mouth"] > 0


def test_suites_that_need_the_function_say_so_and_all_leaves_them_out(
    workspace: Workspace, own_maps: np.ndarray, tmp_path: Path
) -> None:
    from fertool.score.registry import chosen_suites

    np.save(tmp_path / "maps.npy", own_maps)
    import_results(workspace, ImportSettings(tmp_path / "maps.npy", explainer_name="mine", target="label"))
    for suite in ("sanity", "robustness-attention"):
        with pytest.raises(UserError, match=f"--suite {suite}: needs maps of other faces or weights"):
            score(workspace, ScoreSettings("imported:mine", suites=[suite]), device="cpu")
    names = {suite.name for suite in chosen_suites(["all"], "label", False, makes_maps=False)}
    assert not names & {"sanity", "robustness-attention"} and {"faithfulness", "causal-agreement"} <= names
    with pytest.raises(UserError, match="no maps of imported:mine for predicted on test; 'fertool explain"):
        score(workspace, ScoreSettings("imported:mine", suites=["attention"]), device="cpu")
    with pytest.raises(UserError, match="no finished run has maps of imported:other"):
        score(workspace, ScoreSettings("imported:other", suites=["attention"]), device="cpu")


def test_maps_of_weights_that_are_gone_are_refused(
    workspace: Workspace, own_maps: np.ndarray, tmp_path: Path, with_other_weights
) -> None:
    np.save(tmp_path / "maps.npy", own_maps)
    import_results(workspace, ImportSettings(tmp_path / "maps.npy", explainer_name="mine", target="label"))
    with_other_weights(workspace, "cnn", lambda state: next(iter(state.values())).mul_(2))
    with pytest.raises(
        UserError, match="of other faces or weights than lie here now; 'fertool explain --imp"
    ):
        explain(workspace, ExplainSettings(["imported:mine"], target="label", device="cpu"))


def spoilt(maps: np.ndarray) -> np.ndarray:
    maps = maps.copy()
    maps[3, 0, 0] = np.nan
    return maps


@pytest.mark.parametrize(
    ("change", "ids", "message"),
    [
        (lambda maps: maps[:-1], None, r"maps\.npy: 27 rows, and 'test' has 28 faces"),
        (lambda maps: maps[:, 0], None, r"shape \(28, 12\) where \(any, any, any\) belongs"),
        (lambda maps: maps[:, :0], None, "have no cells"),
        (spoilt, None, "row 3 has cells that are no finite number"),
        (lambda maps: maps.astype(str), None, "is no kind of number"),
        (lambda maps: maps, lambda ids: ids[:-1], r"ids\.csv: 27 rows, and maps\.npy has 28"),
        (lambda maps: maps, lambda ids: [*ids[:-1], "no-face"], "line 29: 'no-face' is no face of 'test'"),
        (lambda maps: maps, lambda ids: [*ids[:-1], ids[0]], "line 29: '.*' stands in line 2 too"),
    ],
)
def test_maps_that_do_not_fit_are_one_line_and_change_nothing(
    workspace: Workspace, tmp_path: Path, change, ids, message: str
) -> None:
    maps = np.random.default_rng(0).normal(size=(28, 12, 12)).astype(np.float32)
    np.save(tmp_path / "maps.npy", change(maps))
    names = write_ids(tmp_path / "ids.csv", ids(ids_of(workspace))) if ids else None
    before = sorted(workspace.stored_files())
    with pytest.raises(UserError, match=message) as error:
        import_results(workspace, ImportSettings(tmp_path / "maps.npy", explainer_name="mine", ids=names))
    assert "\n" not in str(error.value) and sorted(workspace.stored_files()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--import", "maps.npy"], "maps need the name of their method; give --explainer-name NAME"),
        (["--import", "maps.csv"], "give maps as .npy, or predictions as .npz"),
        (["--import", "p.npz", "--explainer-name", "x"], "an .npz holds predictions; leave out --expl"),
        (["--import", "maps.npy", "--explainer-name", "a/b"], "use letters, digits, dots and hyphens"),
        (["--import", "maps.npy", "--explainer-name", "a", "--negatives", "clip"], "must be drop or abs"),
        (["--import", "maps.npy", "--explainer-name", "a", "--target", "all"], "the maps of one target"),
        (["--import", "maps.npy", "--explainer-name", "a", "--run", "nope"], "no such run 'nope'"),
        (["--import", "maps.npy", "--explainer-name", "a"], "maps.npy: no such file"),
        (["--explainer-name", "a"], "--explainer-name: is for maps from elsewhere; give --import FILE"),
    ],
)
def test_options_that_do_not_go_together(trained: Workspace, arguments: list[str], message: str) -> None:
    done = invoke("explain", "-w", trained.root, *arguments)
    assert done.exit_code == 1 and message in " ".join(done.output.split())


def test_predictions_are_brought_into_the_order_of_the_faces(workspace: Workspace, tmp_path: Path) -> None:
    labels = workspace.load_labels("test")
    logits = np.eye(7)[labels] * 5
    logits[:6] = np.roll(logits[:6], 1, axis=1)
    order = np.random.default_rng(2).permutation(len(labels))
    np.savez(tmp_path / "p.npz", logits=logits[order], labels=labels[order])
    ids = write_ids(tmp_path / "ids.csv", [ids_of(workspace)[row] for row in order])
    with pytest.raises(UserError, match="its labels are not those of 'test'; bring its rows into the order"):
        import_results(workspace, ImportSettings(tmp_path / "p.npz"))
    done = invoke("explain", "-w", workspace.root, "--import", tmp_path / "p.npz", "--ids", ids, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["accuracy"] == pytest.approx(1 - 6 / len(labels))
    summary = score(workspace, ScoreSettings(suites=["classification"]), device="cpu")
    assert summary.data["classification"][0]["accuracy"] == pytest.approx(1 - 6 / len(labels))
    assert any("made elsewhere, taken as it is" in note for note in summary.notes)
    with pytest.raises(UserError, match="other ones that were imported are there already; --force"):
        import_results(workspace, ImportSettings(tmp_path / "p.npz", ids=ids))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"probabilities": np.ones((28, 7))}, "holds no array 'logits'"),
        ({"logits": np.ones((28, 8))}, r"logits float64 \(28, 8\) where \(N, 7\) belongs"),
        ({"logits": np.full((28, 7), np.inf)}, "row 0 has logits that are nan or infinite"),
        ({"logits": np.ones((28, 7)), "labels": np.array(3)}, "its labels are not those of 'test'"),
    ],
)
def test_predictions_that_do_not_fit(
    workspace: Workspace, tmp_path: Path, arrays: dict, message: str
) -> None:
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(UserError, match=message):
        import_results(workspace, ImportSettings(tmp_path / "p.npz"))
    assert not workspace.run("cnn").predictions("test").exists()


def test_damaged_maps_make_room_with_force_alone(workspace: Workspace, tmp_path: Path) -> None:
    settings = ImportSettings(tmp_path / "maps.npy", explainer_name="mine")
    np.save(settings.file, np.ones((28, 3, 3), np.float32))
    import_results(workspace, settings)
    place = workspace.run("cnn").heatmaps("imported:mine", "predicted", "test")
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(
        UserError, match=r"test\.npy: not a whole \.npy file; --force puts these in its place"
    ):
        import_results(workspace, settings)
    import_results(workspace, settings, force=True)
    assert np.array_equal(np.load(place), np.load(settings.file))


def test_the_runs_own_predictions_make_room_with_force_alone(workspace: Workspace, tmp_path: Path) -> None:
    score(workspace, ScoreSettings(suites=["classification"]), device="cpu")
    labels = workspace.load_labels("test")
    np.savez(tmp_path / "p.npz", logits=np.eye(7)[labels])
    with pytest.raises(UserError, match="the run's own predictions are there already; --force"):
        import_results(workspace, ImportSettings(tmp_path / "p.npz"))
    import_results(workspace, ImportSettings(tmp_path / "p.npz"), force=True)
    summary = score(workspace, ScoreSettings(suites=["classification"]), device="cpu")
    assert summary.data["classification"][0]["accuracy"] == 1
