import json
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain
from fertool.models import load_model, predict_logits
from fertool.runtime.files import write_npz
from fertool.runtime.hardware import Compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.tta import tta_logits
from fertool.workspace import Workspace

CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def workspace(trained: Workspace, tmp_path) -> Workspace:
    """A copy of the trained workspace without results, to spoil."""
    copy = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    for results in ("predictions", "heatmaps", "scores", "on"):
        shutil.rmtree(copy.run("cnn").results / results, ignore_errors=True)
    return copy


def evaluated_run(workspace: Workspace, force: bool = False) -> EvaluatedRun:
    return EvaluatedRun(workspace, workspace.run("cnn"), "test", CPU, force)


def turn_faces(workspace: Workspace) -> None:
    """Faces as another `prepare` would have made them, with their own record."""
    np.save(workspace.faces("test"), np.load(workspace.faces("test"))[:, ::-1])
    record = workspace.dataset()
    files = [workspace.dataset_json.parent / name for name in record["products"]]
    record["products"] = workspace.products(workspace.dataset_json, files)
    workspace.dataset_json.write_text(json.dumps(record))


def foreign_logits(workspace: Workspace) -> np.ndarray:
    """Logits that are always right."""
    return 9 * np.eye(len(workspace.dataset()["classes"]), dtype=np.float32)[workspace.load_labels("test")]


@pytest.mark.parametrize("change", ["faces", "weights"])
def test_other_faces_or_weights_have_other_predictions(
    workspace: Workspace, with_other_weights: Callable, change: str
) -> None:
    before, views_logits = evaluated_run(workspace).logits, tta_logits(evaluated_run(workspace), "tencrop")
    if change == "faces":
        turn_faces(workspace)
    else:
        with_other_weights(workspace, "cnn", lambda state: [value.mul_(0.9) for value in state.values()])
    after = evaluated_run(workspace).logits
    expected = predict_logits(load_model(workspace.run("cnn").best), workspace.load_faces("test"), CPU)
    assert np.array_equal(after, expected) and not np.allclose(after, before)
    assert not np.allclose(tta_logits(evaluated_run(workspace), "tencrop"), views_logits)


def test_weights_that_changed_since_they_were_trained_are_refused(workspace: Workspace) -> None:
    best = workspace.run("cnn").best
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    with pytest.raises(UserError, match=r"best\.safetensors: not the file that run\.json describes") as error:
        score(workspace, ScoreSettings(suites=["classification"]), device="cpu")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"best\.safetensors: not the file that run\.json describes"):
        explain(workspace, ExplainSettings(device="cpu"))


def test_what_is_up_to_date_is_left_alone_unless_forced(workspace: Workspace) -> None:
    evaluated_run(workspace).logits  # noqa: B018 (made here)
    place = workspace.run("cnn").predictions("test")
    written = place.stat().st_mtime_ns
    explain(workspace, ExplainSettings(device="cpu"))  # the same logits but for their last digits
    assert np.array_equal(evaluated_run(workspace).logits, np.load(place)["logits"])
    assert place.stat().st_mtime_ns == written
    evaluated_run(workspace, force=True).logits  # noqa: B018
    assert place.stat().st_mtime_ns != written


def test_those_made_elsewhere_are_scored_and_never_overwritten(workspace: Workspace) -> None:
    run, labels = workspace.run("cnn"), workspace.load_labels("test")
    for tta in (None, "flip"):
        write_npz(run.predictions("test", tta), logits=foreign_logits(workspace), labels=labels)
    written = run.predictions("test").read_bytes()
    explain(workspace, ExplainSettings(device="cpu"), force=True)
    for force in (False, True):
        summary = score(workspace, ScoreSettings(tta="flip"), device="cpu", force=force)
        (classification,) = summary.data["classification"]
        assert classification["accuracy"] == classification["tta"]["accuracy"] == 1
        assert summary.data["attention"][0]["wrong"] is None
        assert sum("made elsewhere, taken as it is" in note for note in summary.notes) == 2
    assert run.predictions("test").read_bytes() == written
    assert run.predictions("test", "flip").read_bytes() == written


def test_those_of_a_killed_process_were_not_made_elsewhere(workspace: Workspace, monkeypatch) -> None:
    import fertool.models.predictions

    def killed(*arguments, **arrays) -> None:
        write_npz(*arguments, **arrays)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fertool.models.predictions, "write_npz", killed)
        evaluated_run(workspace).logits  # noqa: B018
    before = np.load(workspace.run("cnn").predictions("test"))["logits"]
    turn_faces(workspace)
    assert not np.allclose(evaluated_run(workspace).logits, before)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda logits, labels: {"logits": logits[:5], "labels": labels[:5]}, r"shape \(5, 7\) do not fit"),
        (lambda logits, labels: {"logits": logits, "labels": labels[::-1]}, "labels of other faces"),
        (lambda logits, labels: {"probabilities": logits}, "no 'logits' in this archive"),
        (lambda logits, labels: {"logits": logits.astype(str)}, "logits of type <U32 are no real numbers"),
        (lambda logits, labels: {"logits": logits > 0}, "logits of type bool are no real numbers"),
        (lambda logits, labels: {"logits": logits * 1j}, "logits of type complex64 are no real numbers"),
        (
            lambda logits, labels: {"logits": np.where(logits > 0, np.inf, 0)},
            "row 0 has logits that are nan or inf",
        ),
        (lambda logits, labels: {"logits": logits, "labels": labels[:, None]}, "labels of other faces"),
        (lambda logits, labels: {"logits": logits * np.nan}, "row 0 has logits that are nan or inf"),
    ],
)
def test_those_that_do_not_fit_are_one_line(workspace: Workspace, spoil, message: str) -> None:
    arrays = spoil(foreign_logits(workspace), workspace.load_labels("test"))
    write_npz(workspace.run("cnn").predictions("test"), **arrays)
    with pytest.raises(UserError, match=message):
        score(workspace, ScoreSettings(suites=["classification"]), device="cpu")


def test_a_file_of_another_kind_is_one_line(workspace: Workspace) -> None:
    place = workspace.run("cnn").predictions("test")
    place.parent.mkdir()
    for content in (b"", b"logits"):
        place.write_bytes(content)
        with pytest.raises(UserError, match=r"the file is empty|not a whole \.npz file"):
            score(workspace, ScoreSettings(suites=["classification"]), device="cpu")


def test_other_workspaces_of_the_same_name_are_not_the_same(trained: Workspace, tmp_path) -> None:
    run = trained.run("cnn")
    places = [run.on(Workspace(tmp_path / name / "data")).predictions("test") for name in "ab"]
    assert places[0] != places[1] and places[0].parents[1].name.startswith("data-")
    (tmp_path / "b").mkdir()
    assert run.on(Workspace(tmp_path / "b" / ".." / "a" / "data")).predictions("test") == places[0]
