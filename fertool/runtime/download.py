"""Files that are fetched once and kept: where, and how a download is checked."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

import platformdirs

from fertool.errors import UserError
from fertool.runtime.files import replacing
from fertool.runtime.progress import log, progress_bar

CACHE_VARIABLE = "FERTOOL_CACHE"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 16


class MissingError(UserError):
    """A server answered that it has no such file."""


def cache_folder() -> Path:
    """The folder of FERTOOL_CACHE, else fertool's folder in the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("fertool"))


def download(address: str, target: Path, what: str, remedy: str, sha256: str | None = None) -> None:
    """Fetch `address` to `target`, which is there only once it is whole and, where known, has that SHA-256.

    `what` names the thing, `remedy` says what to do without it: both go into the one line of the UserError
    that is raised where the address does not answer, the file cannot be written or came damaged.
    """
    log.info("downloading %s to %s", what, target)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as source, replacing(target) as handle:
            digest = hashlib.sha256()
            total = int(source.headers.get("Content-Length") or 0)
            with progress_bar(f"downloading {what}", total, "B") as bar:
                while chunk := source.read(CHUNK_BYTES):
                    handle.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
            if total and handle.tell() != total:
                raise UserError(f"{what} came damaged ({handle.tell()} of {total} bytes): {remedy}")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise UserError(f"{what} came damaged (its SHA-256 is not {sha256[:12]}...): {remedy}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        missing = isinstance(error, urllib.error.HTTPError) and error.code == http.HTTPStatus.NOT_FOUND
        raise (MissingError if missing else UserError)(
            f"{what} is not here and did not download ({reason}): {remedy}"
        ) from None
