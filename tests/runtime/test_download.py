import hashlib
import http.server
from collections.abc import Callable
from pathlib import Path

import pytest

from fertool.errors import UserError
from fertool.runtime.download import CACHE_VARIABLE, MissingError, cache_folder, download

CONTENT = b"weights" * 40_000


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/moved-to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved-to/"))
            self.end_headers()
        else:
            super().do_GET()

    def end_headers(self) -> None:
        if self.path.endswith("endless"):
            self._headers_buffer = [
                line for line in self._headers_buffer if not line.startswith(b"Content-Length")
            ]
        if self.path.endswith("cut-short"):
            self._headers_buffer = [
                line for line in self._headers_buffer if not line.startswith(b"Content-Length")
            ]
            self.send_header("Content-Length", str(len(CONTENT) + 10))
        super().end_headers()


@pytest.fixture
def server(tmp_path: Path, serve: Callable[..., str]) -> str:
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("whole", "cut-short", "endless"):
        (folder / name).write_bytes(CONTENT)
    return serve(folder, Handler)


def test_a_download_is_whole_or_not_there(server: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "file"
    download(f"{server}/whole", target, "the thing", "get it", hashlib.sha256(CONTENT).hexdigest())
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("file", "sha256", "message"),
    [
        ("whole", "0" * 64, "the thing came damaged .its SHA-256 is not 000000000000.*: get it"),
        ("cut-short", None, r"the thing came damaged \(280000 of 280010 bytes\): get it"),
        ("absent", None, r"the thing is not here and did not download \(.*\): get it"),
    ],
)
def test_what_came_damaged_is_not_kept(
    server: str, tmp_path: Path, file: str, sha256: str | None, message: str
) -> None:
    target = tmp_path / "cache" / "file"
    with pytest.raises(UserError, match=message) as error:
        download(f"{server}/{file}", target, "the thing", "get it", sha256)
    assert isinstance(error.value, MissingError) == (file == "absent")
    assert "\n" not in str(error.value)
    assert not target.exists() and not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("file", ["whole", "endless"])
def test_what_is_too_large_is_not_kept(server: str, tmp_path: Path, file: str) -> None:
    with pytest.raises(UserError, match=r"did not download \(.*more than 100,000( bytes)?\): get it"):
        download(f"{server}/{file}", tmp_path / "cache" / "file", "it", "get it", most_bytes=100_000)
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize(
    "address",
    ["http://example.com/file", "file:///etc/hostname", "ftp://example.com/file", "//example.com/file"],
)
def test_only_https_is_taken_and_no_redirect_leads_elsewhere(
    server: str, tmp_path: Path, address: str
) -> None:
    for asked in (address, f"{server}/moved-to/{address}"):
        with pytest.raises(UserError, match="did not download"):
            download(asked, tmp_path / "file", "it", "get it")
    assert not (tmp_path / "file").exists()
    download(f"{server}/moved-to/{server}/whole", tmp_path / "file", "it", "get it")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/file", "no address at all"])
def test_nobody_answers(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="the thing is not here and did not download") as error:
        download(address, tmp_path / "file", "the thing", "get it")
    assert not isinstance(error.value, MissingError)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
