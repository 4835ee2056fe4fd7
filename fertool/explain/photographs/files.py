"""The photographs that `--image` names: files, folders, globs; and the names of their sheets."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from fertool.errors import UserError
from fertool.explain.registry import Request

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".ppm",
    ".pgm",
)


def find_photographs(images: Sequence[Path], runs: Iterable[str]) -> list[Path]:
    """The photographs that are named, each once: files, all pictures of a folder, or the matches of a glob.

    Sheets that earlier calls wrote beside photographs of a folder are left out: their names hold one of `runs`.
    Raises UserError where nothing fits a name.
    """
    names = list(runs)
    found = [path for image in images for path in _named(image, names)]
    return list(dict.fromkeys(found))


def _named(image: Path, runs: Sequence[str]) -> list[Path]:
    if image.is_dir():
        return _pictures_of(image, runs)
    if image.exists() or not glob.has_magic(str(image)):
        if not image.is_file():
            raise UserError(f"{image}: no such file" if not image.exists() else f"{image}: no file")
        return [image]
    # Path.glob wants a folder to start from, which may itself hold wildcards here
    matches = [Path(path) for path in sorted(glob.glob(str(image)))]  # noqa: PTH207
    files = _without_sheets([path for path in matches if path.is_file()], runs)
    if not files:
        raise UserError(f"{image}: no file fits")
    return files


def _pictures_of(folder: Path, runs: Sequence[str]) -> list[Path]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    files = _without_sheets(pictures, runs)
    if not files:
        raise UserError(f"{folder}: no picture in this folder ({', '.join(SUFFIXES)})")
    return files


def _without_sheets(paths: Sequence[Path], runs: Sequence[str]) -> list[Path]:
    starts = {f"{path.stem}.{run}." for path in paths for run in runs}
    return [
        path
        for path in paths
        if not (path.suffix == ".png" and any(path.name.startswith(start) for start in starts))
    ]


def sheet_path(path: Path, run: str, requests: Sequence[Request], overlay_dir: Path | None) -> Path:
    """The file for the sheet of a photograph and a run: beside the photograph, or in `overlay_dir`."""
    explainers = ".".join(request.key for request in requests)
    return (overlay_dir or path.parent) / f"{path.stem}.{run}.{explainers}.png"


def check_distinct(sheets: Iterable[tuple[Path, Path]]) -> None:
    """Raise UserError where two photographs would have the same sheet; `sheets` are pairs of photograph and sheet."""
    owners: dict[Path, Path] = {}
    for path, sheet in sheets:
        owner = owners.setdefault(sheet, path)
        if owner != path:
            raise UserError(f"{path}: its overlay would overwrite that of {owner}; explain them one by one")
