"""What a long stage has done so far, kept where a kill does not reach it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fertool.files import write_json


class PartialRows:
    """Arrays that a long stage fills row by row, and that outlive a kill.

    They lie in the folder `<target>.partial`, memory-mapped, beside a count of the finished rows and the
    `made_from` record of the work; one left behind by other settings is thrown away.
    """

    def __init__(
        self, target: Path, layout: Mapping[str, tuple[tuple[int, ...], str]], made_from: Mapping[str, Any]
    ) -> None:
        """`layout` maps array names to (shape, dtype), all with the same number of rows."""
        self.folder = target.with_name(f"{target.name}.partial")
        self._progress = self.folder / "progress.json"
        self._identity = json.loads(json.dumps({"made_from": made_from, "layout": layout}))
        self.done = self._rows_kept()
        if self.done == 0:
            self.discard()
            self.folder.mkdir(parents=True)
        mode = "r+" if self.done else "w+"
        self.arrays = {
            name: np.lib.format.open_memmap(self.folder / f"{name}.npy", mode=mode, dtype=dtype, shape=shape)
            if mode == "w+"
            else np.load(self.folder / f"{name}.npy", mmap_mode="r+")
            for name, (shape, dtype) in layout.items()
        }

    def _rows_kept(self) -> int:
        try:
            progress = json.loads(self._progress.read_text())
        except (OSError, ValueError):
            return 0
        if progress["identity"] != self._identity:
            return 0
        # an array that was kept is not here any more: a kill came before the folder was removed
        whole = all((self.folder / f"{name}.npy").exists() for name in self._identity["layout"])
        return progress["done"] if whole else 0

    def append(self, **rows: np.ndarray) -> None:
        """Write the next rows of every array, then count them as finished."""
        count = len(next(iter(rows.values())))
        for name, values in rows.items():
            self.arrays[name][self.done : self.done + count] = values
            self.arrays[name].flush()
        self.done += count
        write_json(self._progress, {"done": self.done, "identity": self._identity})

    def keep(self, name: str, target: Path) -> None:
        """Make a filled array a file of its own."""
        self.arrays.pop(name).flush()
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.npy").replace(target)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
