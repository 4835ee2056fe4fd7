"""The file of MediaPipe's Face Landmarker: named by the user, cached, or downloaded."""

import os
from pathlib import Path

from fertool.errors import UserError
from fertool.runtime.download import cache_folder, download
from fertool.runtime.files import file_sha256

MODEL_VARIABLE = "FERTOOL_MEDIAPIPE_MODEL"
FILE_NAME = "face_landmarker.task"
# The address that MediaPipe's documentation of the Face Landmarker gives (float16, version 1).
ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task"
)
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"


def find_mediapipe_model(option: Path | None = None) -> Path:
    """The model's file: `option`, else FERTOOL_MEDIAPIPE_MODEL, else the cache, else a download into it.

    Raises UserError where the named file does not exist, and where the download fails.
    """
    for named, where in ((option, "--mediapipe-model"), (os.environ.get(MODEL_VARIABLE), MODEL_VARIABLE)):
        if named:
            if not Path(named).is_file():
                raise UserError(f"{named}: no such file, given by {where}; get it from {ADDRESS}")
            return Path(named)
    cached = cache_folder() / FILE_NAME
    if not (cached.is_file() and file_sha256(cached) == SHA256):
        # photographs need the model too, and 'fertool explain' has no such option
        remedy = f"put {ADDRESS} at {cached}, or name a copy in ${MODEL_VARIABLE} ('fertool masks': --mediapipe-model)"
        download(ADDRESS, cached, "MediaPipe's face landmark model", remedy, SHA256)
    return cached
