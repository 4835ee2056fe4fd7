import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fertool.masks import make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.train.state import TrainingState
from fertool.workspace import Run, Workspace


@pytest.fixture(scope="session")
def synthetic_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("synthetic"))
    prepare(workspace, "synthetic", PrepareSettings(count=84))
    make_masks(workspace)
    return workspace.root


@pytest.fixture
def synthetic(synthetic_once: Path, tmp_path: Path) -> Workspace:
    """A fresh workspace with a few synthetic faces and their masks; a copy, for many tests here ask for one."""
    return Workspace(shutil.copytree(synthetic_once, tmp_path / "ws"))


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AbstractContextManager[None]]:
    """`with killed("before 2"):` a training inside dies before, or 'after', it writes the checkpoint of epoch 2."""

    @contextlib.contextmanager
    def at(moment: str) -> Iterator[None]:
        when, _, epoch = moment.partition(" ")
        save = TrainingState.save

        def save_or_die(state: TrainingState, run: Run) -> None:
            dies = len(state.history) == int(epoch)
            if not dies or when == "after":
                save(state, run)
            if dies:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(TrainingState, "save", save_or_die)
            yield

    return at
