"""Where the model of MediaPipe's Face Landmarker lies, or comes from."""

import hashlib
import http.client
import os
import urllib.request
from pathlib import Path

import platformdirs

from fertool.errors import UserError
from fertool.progress import log, progress_bar
from fertool.workspace import replacing

MODEL_VARIABLE = "FERTOOL_MEDIAPIPE_MODEL"
CACHE_VARIABLE = "FERTOOL_CACHE"
FILE_NAME = "face_landmarker.task"
# The address that MediaPipe's documentation of the Face Landmarker gives (float16, version 1).
ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task"
)
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 16


def find_mediapipe_model(option: Path | None = None) -> Path:
    """The model's file: `option`, else FERTOOL_MEDIAPIPE_MODEL, else the cache, else a download into it.

    Raises UserError where the file named does not exist, and where the model is to be downloaded and
    cannot be.
    """
    for named, where in ((option, "--mediapipe-model"), (os.environ.get(MODEL_VARIABLE), MODEL_VARIABLE)):
        if named:
            if not Path(named).is_file():
                raise UserError(f"{named}: no such file, given by {where}; get it from {ADDRESS}")
            return Path(named)
    cached = cache_folder() / FILE_NAME
    if not (cached.is_file() and _sha256(cached) == SHA256):
        _download(cached)
    return cached


def cache_folder() -> Path:
    """The folder of FERTOOL_CACHE, else fertool's folder in the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("fertool"))


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _download(target: Path) -> None:
    log.info("downloading MediaPipe's face landmark model to %s", target)
    remedy = f"put {ADDRESS} at {target}, or name a copy with --mediapipe-model"
    try:
        with urllib.request.urlopen(ADDRESS, timeout=TIMEOUT_S) as source, replacing(target) as handle:
            digest = hashlib.sha256()
            total = int(source.headers.get("Content-Length") or 0)
            with progress_bar("downloading MediaPipe's model", total, "B") as bar:
                while chunk := source.read(CHUNK_BYTES):
                    handle.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
            if digest.hexdigest() != SHA256:
                raise UserError(
                    f"MediaPipe's model came damaged (its SHA-256 is not {SHA256[:12]}...): {remedy}"
                )
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"MediaPipe's model is not here and did not download ({reason}): {remedy}") from None
