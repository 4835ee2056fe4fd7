import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.runtime.files import file_sha256, write_json, write_npy
from fertool.workspace import Workspace


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = tmp_path / "faces.npy"
    write_npy(path, np.zeros(3))
    before = workspace.fingerprint(path)
    assert workspace.fingerprint(path) == before
    write_npy(path, np.ones(3))
    assert workspace.fingerprint(path) != before


def test_a_workspace_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "faces.npy").write_bytes(b"1")
    monkeypatch.setattr("fertool.workspace.write_json", refuse)
    assert Workspace(tmp_path).fingerprint(tmp_path / "faces.npy") == file_sha256(tmp_path / "faces.npy")


def test_is_current_notices_settings_inputs_and_missing_products(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    source, product, record = tmp_path / "in.npy", tmp_path / "out.npy", tmp_path / "out.json"
    write_npy(source, np.zeros(3))
    write_npy(product, np.zeros(3))
    made_from = workspace.made_from(1, {"size": 48}, [source])
    write_json(record, {"made_from": made_from})
    assert workspace.is_current(record, made_from, [product])
    assert not workspace.is_current(record, workspace.made_from(2, {"size": 48}, [source]), [product])
    assert not workspace.is_current(record, workspace.made_from(1, {"size": 64}, [source]), [product])
    write_npy(source, np.ones(3))
    assert not workspace.is_current(record, workspace.made_from(1, {"size": 48}, [source]), [product])
    product.unlink()
    assert not workspace.is_current(record, made_from, [product])


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    run = Workspace(tmp_path).run("cnn-s0")
    with run.locked(), pytest.raises(UserError, match="another process"), run.locked():
        pass
    with run.locked():  # and is free again afterwards
        assert run.folder.is_dir()


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fertool prepare"):
        Workspace(tmp_path).dataset()
