import shutil
from pathlib import Path

import pytest

from fertool.masks import make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.workspace import Workspace


@pytest.fixture(scope="session")
def synthetic_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("synthetic"))
    prepare(workspace, "synthetic", PrepareSettings(count=140))
    make_masks(workspace)
    return workspace.root


@pytest.fixture
def synthetic(synthetic_once: Path, tmp_path: Path) -> Workspace:
    """A fresh workspace with a few synthetic faces and their masks; a copy, for many tests here ask for one."""
    return Workspace(shutil.copytree(synthetic_once, tmp_path / "ws"))
