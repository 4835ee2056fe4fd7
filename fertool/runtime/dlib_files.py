"""The files of dlib's own networks, as the package face_recognition_models (extra `dlib`) brings them."""

import importlib.util
from pathlib import Path

INSTALL_DLIB = "pip install dlib-bin face_recognition_models"  # what the extra `dlib` holds


def dlib_file(name: str) -> Path | None:
    """The file of that name in the package, or None where package or file are not installed."""
    # the package is not imported: it asks for pkg_resources, which setuptools no longer has
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "models" / name
    return file if file.is_file() else None
