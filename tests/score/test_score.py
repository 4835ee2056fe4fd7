import json
import shutil

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.masks.regions import REGIONS
from fertool.score import score
from fertool.workspace import Workspace, read_csv


@pytest.fixture
def workspace(trained: Workspace, tmp_path) -> Workspace:
    """A copy of the trained workspace, to spoil."""
    return Workspace(shutil.copytree(trained.root, tmp_path / "copy"))


def foreign_maps(workspace: Workspace, heatmaps: np.ndarray) -> None:
    """Put heatmaps made elsewhere into the run."""
    run = workspace.run("cnn")
    score(workspace, device="cpu")
    place = run.heatmaps("gradcam", "predicted", "test")
    place.with_suffix(".json").unlink()
    np.save(place, heatmaps.astype(np.float32))


def test_missing_heatmaps_are_made_first_and_figures_stored(workspace: Workspace) -> None:
    summary = score(workspace, device="cpu")
    run = workspace.run("cnn")
    assert run.heatmaps("gradcam", "predicted", "test").exists()
    stored = json.loads(run.scores("attention", "test", "gradcam", "predicted").read_text())
    assert stored == summary.data["attention"][0]
    assert sum(stored["overall"]["share"].values()) == pytest.approx(1)
    assert sum(stored["overall"]["area"].values()) == pytest.approx(1)
    rows = read_csv(run.scores("attention", "test", "gradcam", "predicted").with_suffix(".csv"))
    mouth = [float(row["share_mouth"]) for row in rows if row["counted"] == "1"]
    assert np.mean(mouth) == pytest.approx(stored["overall"]["share"]["mouth"], abs=1e-5)

    classification = json.loads(run.scores("classification", "test").read_text())
    rows = read_csv(run.scores("classification", "test").with_suffix(".csv"))
    assert classification["accuracy"] == pytest.approx(np.mean([int(row["correct"]) for row in rows]))
    assert len(rows) == len(workspace.load_labels("test"))


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
    with pytest.raises(UserError, match=r"shape \(3, 7, 7\), but 'test' needs"):
        score(workspace, device="cpu")


def test_faces_with_a_twin_in_train_are_scored_apart(workspace: Workspace) -> None:
    for split, row in (("train", 4), ("test", 2)):
        path = workspace.faces_csv(split)
        lines = path.read_text().splitlines()
        cells = lines[row + 1].split(",")
        cells[lines[0].split(",").index("twin_group")] = "7"
        lines[row + 1] = ",".join(cells)
        path.write_text("\n".join(lines) + "\n")
    scores = score(workspace, device="cpu").data["classification"][0]
    assert scores["faces"] - scores["without_twins_in_train"]["faces"] == 1
    rows = read_csv(workspace.run("cnn").scores("classification", "test").with_suffix(".csv"))
    assert [row["row"] for row in rows if row["twin_in_train"] == "1"] == ["2"]


def test_masks_of_other_faces_are_refused(workspace: Workspace) -> None:
    np.save(workspace.faces("test"), np.load(workspace.faces("test"))[:, ::-1])
    with pytest.raises(UserError, match="region maps are of other faces; run 'fertool masks' again"):
        score(workspace, device="cpu")


def test_masks_are_needed(workspace: Workspace) -> None:
    shutil.rmtree(workspace.masks_json.parent)
    with pytest.raises(UserError, match="run 'fertool masks' first"):
        score(workspace, device="cpu")


def test_seeds_of_a_condition_share_a_row(workspace: Workspace) -> None:
    other = shutil.copytree(workspace.run("cnn").folder, workspace.run("cnn-again").folder) / "run.json"
    other.write_text(
        other.read_text().replace('"seed": 0', '"seed": 1').replace('"name": "cnn"', '"name": "x"')
    )
    tables = score(workspace, device="cpu").tables
    assert tables[0].rows[0][1] == "2"
    assert "± 0.0" in tables[0].rows[0][2]
