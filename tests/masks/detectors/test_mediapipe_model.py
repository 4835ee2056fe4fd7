import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fertool.errors import UserError
from fertool.masks.detectors import mediapipe_model
from fertool.masks.detectors.mediapipe_model import FILE_NAME, MODEL_VARIABLE, find_mediapipe_model
from fertool.runtime.download import CACHE_VARIABLE

CONTENT = b"a model" * 40_000


@pytest.fixture
def server(tmp_path: Path, serve: Callable[..., str]) -> str:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(CONTENT)
    return f"{serve(folder)}/{FILE_NAME}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(mediapipe_model, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(mediapipe_model, "ADDRESS", "http://127.0.0.1:9/" + FILE_NAME)  # nobody answers there
    return tmp_path / "cache"


def test_downloads_into_the_cache_once(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediapipe_model, "ADDRESS", server)
    assert find_mediapipe_model() == cache / FILE_NAME
    assert (cache / FILE_NAME).read_bytes() == CONTENT
    monkeypatch.setattr(mediapipe_model, "ADDRESS", "http://127.0.0.1:9/")
    assert find_mediapipe_model() == cache / FILE_NAME
    assert [path.name for path in cache.iterdir()] == [FILE_NAME]


def test_a_damaged_download_is_not_kept(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediapipe_model, "ADDRESS", server)
    monkeypatch.setattr(mediapipe_model, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="SHA-256"):
        find_mediapipe_model()
    assert list(cache.iterdir()) == []


def test_a_damaged_copy_in_the_cache_is_downloaded_again(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mediapipe_model, "ADDRESS", server)
    cache.mkdir()
    (cache / FILE_NAME).write_bytes(CONTENT[:100])
    assert find_mediapipe_model().read_bytes() == CONTENT


@pytest.mark.parametrize("path", [FILE_NAME, "missing.task"])
def test_offline_says_in_one_line_where_to_put_it(
    path: str, server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path != FILE_NAME:  # a server that answers 'not found'
        monkeypatch.setattr(mediapipe_model, "ADDRESS", server.replace(FILE_NAME, path))
    with pytest.raises(UserError) as error:
        find_mediapipe_model()
    message = str(error.value)
    assert "\n" not in message
    assert str(cache / FILE_NAME) in message
    assert mediapipe_model.ADDRESS in message
    assert "--mediapipe-model" in message
    assert not (cache / FILE_NAME).exists()


def test_argument_before_variable_before_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    for path in (cache / FILE_NAME, tmp_path / "variable.task", tmp_path / "argument.task"):
        path.write_bytes(CONTENT)
    assert find_mediapipe_model() == cache / FILE_NAME
    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path / "variable.task"))
    assert find_mediapipe_model() == tmp_path / "variable.task"
    assert find_mediapipe_model(tmp_path / "argument.task") == tmp_path / "argument.task"


def test_a_file_named_and_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--mediapipe-model"):
        find_mediapipe_model(tmp_path / "none.task")
    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path / "none.task"))
    with pytest.raises(UserError, match=MODEL_VARIABLE):
        find_mediapipe_model()
