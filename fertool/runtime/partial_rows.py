"""The rows that a long stage has finished so far, kept where a kill does not reach it."""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fertool.runtime.files import write_json

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def partial_folder(target: Path) -> Path:
    """The folder in which the unfinished rows of `target` lie."""
    return target.with_name(f"{target.name}.partial")


class PartialRows:
    """Arrays that a long stage fills row by row, and that outlive a kill.

    They lie in the folder `<target>.partial`, memory-mapped, beside a count of the finished rows and the
    `made_from` record of the work; one left behind by other settings is thrown away.
    """

    def __init__(
        self, target: Path, layout: Mapping[str, tuple[tuple[int, ...], str]], made_from: Mapping[str, Any]
    ) -> None:
        """`layout` maps array names to (shape, dtype), all with the same number of rows.

        Raises OSError where the disk has no room for them.
        """
        self.folder = partial_folder(target)
        self._progress = self.folder / "progress.json"
        self._identity = json.loads(json.dumps({"made_from": made_from, "layout": layout}))
        self.done = self._rows_kept()
        if self.done == 0:
            self.discard()
            self.folder.mkdir(parents=True)
        self.arrays: dict[str, np.memmap] = {
            name: np.load(self.folder / f"{name}.npy", mmap_mode="r+")
            if self.done
            else self._new_array(name, shape, dtype)
            for name, (shape, dtype) in layout.items()
        }

    def _new_array(self, name: str, shape: tuple[int, ...], dtype: str) -> np.memmap:
        """An array whose room on the disk is taken: a page that finds none when it is written kills the process."""
        file = self.folder / f"{name}.npy"
        array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            try:
                with file.open("r+b") as handle:
                    os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno in NO_ROOM:
                    self.discard()
                    raise OSError(error.errno, error.strerror, str(file)) from error
        return array

    def _rows_kept(self) -> int:
        if self.folder.is_symlink():
            return 0  # what it leads to is no folder of ours to write to
        try:
            progress = json.loads(self._progress.read_bytes())
            if progress["identity"] != self._identity:
                return 0
            done = int(progress["done"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        # an array that was kept is not here any more: a kill came before the folder was removed
        return done if all(map(self._is_whole, self._identity["layout"])) else 0

    def _is_whole(self, name: str) -> bool:
        shape, dtype = self._identity["layout"][name]
        try:
            array = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return array.shape == tuple(shape) and array.dtype == dtype

    def append(self, **rows: np.ndarray) -> None:
        """Write the next rows of every array, then count them as finished."""
        count = len(next(iter(rows.values())))
        for name, values in rows.items():
            self.arrays[name][self.done : self.done + count] = values
            self.arrays[name].flush()
        self.done += count
        # a power loss may cost the count, and with it the rows, but every batch would wait for the disk
        write_json(self._progress, {"done": self.done, "identity": self._identity}, durable=False)

    def keep(self, name: str, target: Path) -> None:
        """Make a filled array a file of its own."""
        self.arrays.pop(name).flush()
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.npy").replace(target)

    def discard(self) -> None:
        """Remove the folder, or what stands in its place; a link is not followed."""
        if self.folder.is_dir() and not self.folder.is_symlink():
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.folder.unlink(missing_ok=True)
