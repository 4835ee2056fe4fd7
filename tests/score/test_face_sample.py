"""`score --faces`: a sample in which every class has its part, alike for all runs, its figures those of its faces."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.explain.face_sample import stratified_rows
from fertool.report import ReportSettings, write_report
from fertool.runtime.files import read_json
from fertool.score import ScoreSettings, score
from fertool.score.results.face_csv import read_columns
from fertool.workspace import Workspace

FACES = 20
EVERY_SUITE = (
    "classification,attention,faithfulness,causal,causal-agreement,robustness,robustness-attention,sanity"
)


@pytest.fixture(scope="module")
def workspace(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the trained workspace without what other tests have scored and explained there."""
    made = shutil.ignore_patterns("scores", "heatmaps")
    return Workspace(shutil.copytree(trained.root, tmp_path_factory.mktemp("sample") / "copy", ignore=made))


def rows_of(workspace: Workspace) -> np.ndarray:
    labels = workspace.load_labels("test")
    rows = stratified_rows(labels, FACES, seed=0)
    assert rows is not None and len(labels) > FACES
    return rows


def test_each_class_has_its_part() -> None:
    labels = np.repeat([3, 0, 5], [60, 30, 10])
    rows = stratified_rows(labels, 10, seed=0)
    assert np.bincount(labels[rows], minlength=6).tolist() == [3, 0, 0, 6, 0, 1]
    assert np.array_equal(rows, stratified_rows(labels, 10, seed=0))
    assert not np.array_equal(rows, stratified_rows(labels, 10, seed=1))
    assert stratified_rows(labels, 100, seed=0) is None


@given(st.lists(st.integers(0, 6), min_size=2, max_size=80), st.integers(1, 80))
def test_parts_are_off_by_less_than_a_face(labels: list[int], faces: int) -> None:
    rows = stratified_rows(np.array(labels), faces, seed=3)
    if faces >= len(labels):
        assert rows is None
        return
    assert len(rows) == faces == len(set(rows.tolist())) and (np.diff(rows) > 0).all()
    for code in set(labels):
        part = faces * labels.count(code) / len(labels)
        assert abs(sum(labels[row] == code for row in rows) - part) < 1


def test_figures_are_those_of_the_sampled_faces(workspace: Workspace) -> None:
    of_all = Workspace(shutil.copytree(workspace.root, workspace.root.parent / "of all"))
    score(of_all, device="cpu")
    summary = score(workspace, ScoreSettings(faces=FACES), device="cpu")
    rows, run = rows_of(workspace), workspace.run("cnn")

    def stored(where: Workspace, *path: str) -> dict[str, np.ndarray]:
        return read_columns(where.run("cnn").scores(*path).with_suffix(".csv"))

    for path in (("classification", "test"), ("attention", "test", "gradcam", "predicted")):
        sampled, every = stored(workspace, *path), stored(of_all, *path)
        assert list(sampled) == list(every)
        for name, values in sampled.items():
            assert len(values) == len(workspace.load_labels("test"))
            if name != "row":
                assert np.array_equal(values[rows], every[name][rows], equal_nan=True)
                assert np.isnan(np.delete(values, rows)).all()
    correct = stored(of_all, "classification", "test")["correct"]
    (classification,) = summary.data["classification"]
    assert classification["faces"] == FACES
    assert classification["accuracy"] == pytest.approx(correct[rows].mean())
    low, high = classification["intervals"]["accuracy"]
    wide = read_json(of_all.run("cnn").scores("classification", "test"))["intervals"]["accuracy"]
    assert high - low > wide[1] - wide[0]
    assert read_json(run.scores("classification", "test"))["sample"] == {"faces": FACES, "seed": 0}
    total = len(workspace.load_labels("test"))
    assert any(f"a sample of {FACES} of the {total} faces" in note for note in summary.tables[0].notes)


def test_every_suite_takes_the_sample_and_the_report_shows_it(workspace: Workspace) -> None:
    settings = ScoreSettings(suites=(EVERY_SUITE,), faces=FACES, target="label", fills=("mean",), nulls=False)
    summary = score(workspace, settings, device="cpu")
    for suite in EVERY_SUITE.split(","):
        (figures,) = summary.data[suite]
        assert figures["faces"] == FACES, suite
    write_report(workspace, ReportSettings(only=("page",)))
    page = (workspace.root / "report" / "index.html").read_text()
    assert f"a sample of {FACES} of the" in page


def test_maps_are_made_of_the_sample_alone(workspace: Workspace) -> None:
    copy = Workspace(shutil.copytree(workspace.root, workspace.root.parent / "maps"))
    run, rows = copy.run("cnn"), rows_of(copy)
    settings = ScoreSettings("smoothgrad@samples=2", suites=("attention",), faces=FACES)
    (sampled,) = score(copy, settings, device="cpu").data["attention"]
    key = settings.request.key
    whole = run.heatmaps(key, "predicted", "test")
    assert not whole.exists()
    maps = np.load(run.heatmaps(key, "predicted", "test", f"faces{FACES}.seed0"))
    assert len(maps) == FACES
    score(copy, ScoreSettings("smoothgrad@samples=2", suites=("attention",)), device="cpu")
    assert np.allclose(np.load(whole)[rows], maps, atol=1e-5 * np.abs(maps).max())
    columns = read_columns(run.scores("attention", "test", key, "predicted").with_suffix(".csv"))
    counted = (columns["located"] == 1) & (columns["empty"] == 0)
    mouth = columns["share_mouth"][rows][counted[rows]]
    assert sampled["overall"]["share"]["mouth"] == pytest.approx(mouth.mean(), abs=1e-5)


def test_figures_of_all_faces_serve_and_are_never_replaced_by_a_samples(workspace: Workspace) -> None:
    copy = Workspace(shutil.copytree(workspace.root, workspace.root.parent / "served"))
    path = copy.run("cnn").scores("classification", "test")
    settings = ScoreSettings(suites=("classification",))
    score(copy, ScoreSettings(suites=("classification",), faces=FACES), device="cpu")
    first = path.stat().st_mtime_ns
    score(copy, ScoreSettings(suites=("classification",), faces=FACES), device="cpu")
    assert path.stat().st_mtime_ns == first
    score(copy, settings, device="cpu")
    everything = path.read_bytes()
    assert "sample" not in read_json(path)
    score(copy, ScoreSettings(suites=("classification",), faces=FACES), device="cpu")
    assert path.read_bytes() == everything


def test_a_sample_of_nothing_is_one_line() -> None:
    with pytest.raises(UserError, match="--faces 0: must be 1 or more"):
        ScoreSettings(faces=0)


def test_by_column_takes_the_sample(workspace: Workspace, tmp_path: Path) -> None:
    settings = ScoreSettings(suites=("classification",), faces=FACES, by_column="brightness=0.5")
    groups = score(workspace, settings, device="cpu").data["by_column"]["conditions"]
    (figures,) = groups.values()
    assert sum(group["faces"] for group in figures["accuracy"]["groups"].values()) == FACES
