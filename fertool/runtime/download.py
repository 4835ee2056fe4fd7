"""Files that are fetched once and kept: where, and how a download is checked."""

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

import platformdirs

from fertool.errors import UserError
from fertool.runtime.files import replacing
from fertool.runtime.progress import log, progress_bar

CACHE_VARIABLE = "FERTOOL_CACHE"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 16
MOST_BYTES = 4 * 2**30
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


class MissingError(UserError):
    """A server answered that it has no such file."""


def cache_folder() -> Path:
    """The folder of FERTOOL_CACHE, else fertool's folder in the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("fertool"))


class _OnlySafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to an address that `download` would take itself."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        redirected = super().redirect_request(req, fp, code, msg, headers, newurl)
        if redirected is not None:
            _require_https(redirected.full_url)
        return redirected


def download(
    address: str,
    target: Path,
    what: str,
    remedy: str,
    sha256: str | None = None,
    *,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Fetch a file, which is there only once it is whole.

    Args:
        address: its https address; http is taken from this machine alone.
        target: where it goes.
        what: its name, for the line of an error.
        remedy: what to do without it, likewise.
        sha256: its SHA-256, where it is known.
        most_bytes: the largest size that it can have.

    Raises:
        UserError: the address does not answer or is not safe, the file cannot be written, or it came damaged.
        MissingError: the server says that it has no such file.
    """
    try:
        _require_https(address)
    except ValueError as error:
        raise UserError(f"{what} is not here and did not download ({error}): {remedy}") from None
    log.info("downloading %s to %s", what, target)
    try:
        opener = urllib.request.build_opener(_OnlySafeRedirects)
        with opener.open(address, timeout=TIMEOUT_S) as source, replacing(target) as handle:
            total = int(source.headers.get("Content-Length") or 0)
            if total > most_bytes:
                raise ValueError(f"{total:,} bytes, more than {most_bytes:,}")
            came_sha256 = _copy(source, handle, progress_bar(f"downloading {what}", total, "B"), most_bytes)
            if total and handle.tell() != total:
                raise UserError(f"{what} came damaged ({handle.tell()} of {total} bytes): {remedy}")
            if sha256 is not None and came_sha256 != sha256:
                raise UserError(f"{what} came damaged (its SHA-256 is not {sha256[:12]}...): {remedy}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        missing = isinstance(error, urllib.error.HTTPError) and error.code == http.HTTPStatus.NOT_FOUND
        raise (MissingError if missing else UserError)(
            f"{what} is not here and did not download ({reason}): {remedy}"
        ) from None


def _require_https(address: str) -> None:
    """Raise ValueError for an address whose answer could be anybody's, or that is no server's."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in THIS_MACHINE):
        raise ValueError("not an https address")


def _copy(source: IO[bytes], target: IO[bytes], bar: Any, most_bytes: int) -> str:
    """Copy what comes, no more than `most_bytes`; return its SHA-256."""
    digest = hashlib.sha256()
    with bar:
        while chunk := source.read(CHUNK_BYTES):
            if target.tell() + len(chunk) > most_bytes:
                raise ValueError(f"more than {most_bytes:,} bytes")
            target.write(chunk)
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
