"""Figures on disk: wherever a scoring is killed, what is read afterwards is right."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fertool.errors import DamagedError
from fertool.masks import MaskSettings, make_masks
from fertool.runtime.files import read_json
from fertool.score import ScoreSettings, score
from fertool.score.gather import find_stored, gather_scores, outdated_notes
from fertool.score.results.face_csv import read_columns
from fertool.workspace import Workspace

SETTINGS = ScoreSettings(suites=["classification", "attention", "representation"])


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may write to."""
    return Workspace(shutil.copytree(trained.root, tmp_path / "data"))


class Killed(BaseException):
    """Nothing that a program catches."""


def kill_at_write(monkeypatch: pytest.MonkeyPatch, number: int) -> list[Path]:
    """From the `number`th file of scores on nothing is written any more; the targets of the renames so far."""
    written: list[Path] = []
    replace = Path.replace

    def replace_or_die(path: Path, target: Path) -> Path:
        if "scores" in Path(target).parts:
            if len(written) >= number:
                raise Killed
            written.append(Path(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)
    return written


def figures(workspace: Workspace) -> dict[str, Any]:
    data = json.loads(json.dumps(score(workspace, SETTINGS, device="cpu").data))
    for name in ("classification", "attention", "representation"):
        for run in data[name]:
            del run["made_from"]
    return data


def test_a_kill_between_any_two_writes_leaves_no_stale_figures(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored with one margin, killed while scoring with another, scored with the first again: the first figures."""
    monkeypatch.setattr("fertool.score.suites.representation.MOST_ITERATIONS", 2)
    right = figures(workspace)
    masks = shutil.copytree(workspace.root / "masks", tmp_path / "masks")
    make_masks(workspace, MaskSettings(margin=0.4))
    before = shutil.copytree(workspace.root / "runs", tmp_path / "runs")
    files = 0
    while True:
        shutil.rmtree(workspace.root / "runs")
        shutil.copytree(before, workspace.root / "runs")
        with monkeypatch.context() as patch:
            written = kill_at_write(patch, files)
            try:
                other = figures(workspace)
            except Killed:
                pass
            else:
                break
        assert len(written) == files
        other_masks = shutil.move(workspace.root / "masks", tmp_path / "other")
        shutil.copytree(masks, workspace.root / "masks")
        gathered = gather_scores(workspace, workspace.runs(), "test")
        for suite in gathered:
            assert suite.scores[0]["faces"] == right[suite.suite.name][0]["faces"]
            ours = {key: value for key, value in suite.scores[0].items() if key != "made_from"}
            assert json.loads(json.dumps(ours)) == right[suite.suite.name][0], f"killed at write {files}"
        assert figures(workspace) == right, f"killed at write {files}"
        shutil.rmtree(workspace.root / "masks")
        shutil.move(other_masks, workspace.root / "masks")
        files += 1
    assert files == 5, "a JSON and a CSV of attention and representation, and the features of the latter"
    assert other["attention"] != right["attention"]


def test_a_changed_csv_is_left_out_and_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fertool.score.suites.representation.MOST_ITERATIONS", 2)
    right = figures(workspace)
    path = workspace.run("cnn").scores("classification", "test").with_suffix(".csv")
    content = path.read_bytes()
    path.write_bytes(content.replace(b",1,", b",0,"))
    names = [entry.suite.name for entry in gather_scores(workspace, workspace.runs(), "test")]
    assert "classification" not in names and "attention" in names
    (note,) = outdated_notes(workspace.runs(), find_stored(workspace, workspace.runs(), "test")[1])
    assert note.startswith("cnn: classification: ") and "damaged since" in note
    assert figures(workspace) == right and path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"row,a\n0,1\n1\n", "line 3 has not 2 values"),
        (b"row,a\n0,1\n1,x\n", "could not convert string to float: 'x'"),
        (b"row,a\n0,1\n", "1 rows where 2 faces are"),
        (b"row,\xff\n", "not UTF-8"),
        (b"", "the file is empty"),
    ],
)
def test_values_that_cannot_be_read_are_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "values.csv"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=message) as raised:
        read_columns(path, "score again", rows=2)
    assert "\n" not in str(raised.value) and str(raised.value).endswith("; score again")


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: {"made_from": record["made_from"], "products": record["products"]},
        lambda record: record | {"per_class": [1, 2]},
        lambda record: record | {"made_from": None},
        lambda record: record | {"made_from": {"settings": []}, "products": 3},
    ],
    ids=["lacks keys", "other shape", "no record", "other record"],
)
def test_figures_of_another_shape_are_one_line_or_left_out(
    workspace: Workspace, edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fertool.score.suites.representation.MOST_ITERATIONS", 2)
    right = figures(workspace)
    path = workspace.run("cnn").scores("classification", "test")
    path.write_text(json.dumps(edit(read_json(path))))
    try:
        names = [entry.suite.name for entry in gather_scores(workspace, workspace.runs(), "test")]
    except DamagedError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        assert "fertool score --run cnn --force" in str(error)
        score(workspace, SETTINGS, device="cpu", force=True)
    else:
        assert "classification" not in names
    assert figures(workspace) == right
