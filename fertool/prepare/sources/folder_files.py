"""A folder as the files of a source."""

import os
from pathlib import Path

from fertool.errors import UserError
from fertool.prepare.sources.limits import refuse_long_name, refuse_many_files, refuse_many_folders
from fertool.prepare.sources.source_files import SourceFiles, is_wanted


def folder_files(path: Path, apart: Path | None) -> SourceFiles:
    """The files below a folder, those of linked folders too, without those in the folder `apart`.

    Devices, pipes and sockets are no files. Raises UserError for what cannot be read, links to nothing, and names that
    are too long or not in UTF-8.
    """
    sizes: dict[str, int] = {}
    folders: set[str] = set()
    left_out = None if apart is None else apart.resolve()

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for parent, names, files in os.walk(path, onerror=refuse, followlinks=True):
        here = Path(parent).relative_to(path)
        names[:] = sorted(name for name in names if _is_entered(Path(parent, name), path, left_out))
        for name in names:
            refuse_long_name(path, (here / name).as_posix())
            folders.add((here / name).as_posix())
        for name in sorted(filter(is_wanted, files)):
            file, relative = Path(parent, name), (here / name).as_posix()
            refuse_unreadable_name(path, relative)
            refuse_long_name(path, relative)
            if file.is_file():
                sizes[relative] = file.stat().st_size
            elif file.is_symlink() and not file.exists():
                raise UserError(f"{file}: a link to nothing; fetch what it stands for, or remove it")
        refuse_many_files(path, len(sizes))
        refuse_many_folders(path, len(folders))
    return SourceFiles(path, sizes, folders, lambda name: (path / name).open("rb"), packed=False)


def _is_entered(folder: Path, top: Path, left_out: Path | None) -> bool:
    if not is_wanted(folder.name):
        return False
    real = folder.resolve()
    is_loop = folder.is_symlink() and any(
        above.resolve().is_relative_to(real) for above in folder.parents if above.is_relative_to(top)
    )
    return real != left_out and not is_loop


def refuse_unreadable_name(path: Path, name: str) -> None:
    """Raise UserError for a name with bytes that are no UTF-8, as old archives have them."""
    if any("\udc80" <= character <= "\udcff" for character in name):
        raise UserError(f"{path}: the name '{name}' is not in UTF-8; rename it, as with convmv")
