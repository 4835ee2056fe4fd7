"""The faces and files of a training in run.json."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.runtime.files import write_json, write_npy
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

CONFIG = TrainConfig(epochs=1, lr=1e-3, precision="fp32")


@pytest.fixture(scope="module")
def finished_once(synthetic_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run `cnn`."""
    workspace = Workspace(shutil.copytree(synthetic_once, tmp_path_factory.mktemp("finished") / "ws"))
    train(workspace, CONFIG, name="cnn", device="cpu")
    return workspace.root


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Workspace:
    """A copy of it."""
    return Workspace(shutil.copytree(finished_once, tmp_path / "ws"))


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_faces_that_are_not_those_of_the_training_are_told(
    finished: Workspace, split: str, is_old: bool
) -> None:
    run = finished.run("cnn")
    if is_old:  # the record of an earlier version names the inputs of the training only
        record = run.config()
        del record["faces"]
        write_json(run.run_json, record)
    assert finished.changed_faces(run) is None
    finished.require_own_faces(run)
    write_npy(finished.faces(split), np.array(finished.load_faces(split))[::-1])
    if is_old and split == "test":
        assert finished.changed_faces(run) is None
        return
    reason = finished.changed_faces(run)
    assert reason is not None and f"faces/{split}.npy has changed" in reason and "\n" not in reason
    with pytest.raises(UserError, match=r"runs/cnn: trained on other faces than lie here"):
        finished.require_own_faces(run)


def test_faces_that_are_gone_are_told(finished: Workspace) -> None:
    finished.faces_csv("val").unlink()
    reason = finished.changed_faces(finished.run("cnn"))
    assert reason is not None and "faces/val.csv is missing" in reason


def test_a_record_that_says_nothing_of_faces_is_believed(finished: Workspace) -> None:
    run = finished.run("cnn")
    write_json(run.run_json, {**run.config(), "faces": {}, "made_from": {}})
    assert finished.changed_faces(run) is None


def test_faces_that_change_while_a_training_begins_are_told_and_nothing_is_begun(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare` refuses to replace the faces of a run: the moment before there is one is this."""
    from fertool.train import command

    load_train_split: Callable[..., object] = command.load_train_split

    def replaced_meanwhile(*arguments: object) -> object:
        split = load_train_split(*arguments)
        write_npy(synthetic.faces("train"), np.array(synthetic.load_faces("train"))[::-1])
        return split

    monkeypatch.setattr(command, "load_train_split", replaced_meanwhile)
    with pytest.raises(
        UserError, match="were made anew while this training began; run the same command again"
    ):
        train(synthetic, CONFIG, name="cnn", device="cpu")
    assert not synthetic.runs()
