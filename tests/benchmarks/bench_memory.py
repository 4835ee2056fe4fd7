"""Peak resident memory of `fertool train`, on a set of FER2013's size and on a far larger one.

    python tests/benchmarks/bench_memory.py [--gib 4]

Both sets are synthetic faces, repeated. The large set's faces are enlarged eight times, and it stays in its file: with
--gib above the machine's memory only the file can hold it, and resident memory does not grow with it. Resident memory
is Linux's VmHWM, mapped pages of files included. GB are 10^9 bytes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from targets import missed

from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv, write_csv, write_json
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import SPLITS, Workspace

FER2013_FACES = 28_709  # the train split
ENLARGED = 8
MIN_GIB = 1
MAX_GB, MAX_LARGE_GB = 1.5, 2.0  # a batch of enlarged faces takes more as well


def main() -> None:
    """Train one epoch on each set; the exit code is 1 where resident memory exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=4, help="size of the large set, at least 1 (default: 4)")
    parser.add_argument("--one", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train(Workspace(arguments.one), TrainConfig(epochs=1), device="cpu")
        print(_peak_resident_gb())
        return
    any_missed = False
    for enlarged, gib, max_gb in (
        (1, None, MAX_GB),
        (ENLARGED, max(MIN_GIB, arguments.gib), MAX_LARGE_GB),
    ):
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder) / "ws")
            prepare(workspace, "synthetic", PrepareSettings(count=2000))
            faces = FER2013_FACES if gib is None else round(gib * 2**30 / (48 * enlarged) ** 2)
            _repeat(workspace, faces, enlarged)
            size_gib = workspace.faces("train").stat().st_size / 2**30
            # a process of its own: writing the set must not count
            command = [sys.executable, __file__, "--one", str(workspace.root)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            resident_gb = float(output.splitlines()[-1])
        any_missed |= missed(
            f"{faces:,} faces of {48 * enlarged} pixels, {size_gib:.1f} GiB: {resident_gb:.2f} GB resident (at "
            f"most {max_gb})",
            resident_gb <= max_gb,
        )
    sys.exit(1 if any_missed else 0)


def _repeat(workspace: Workspace, count: int, enlarged: int) -> None:
    """Write a train split of `count` faces: its own, repeated, each pixel `enlarged` times as wide and high."""
    own = workspace.load_faces("train")
    large = np.repeat(np.repeat(own, enlarged, axis=1), enlarged, axis=2)
    rows = read_csv(workspace.faces_csv("train"))
    shape = (count, *large.shape[1:])
    target = workspace.faces("train").with_suffix(".large.npy")
    repeated = np.lib.format.open_memmap(target, "w+", np.uint8, shape)
    for start in range(0, count, len(large)):
        repeated[start : start + len(large)] = large[: count - start]
    repeated.flush()
    del repeated
    target.replace(workspace.faces("train"))
    columns = list(rows[0])
    content = ([row, *list(rows[row % len(rows)].values())[1:]] for row in range(count))
    write_csv(workspace.faces_csv("train"), columns, content)
    record = workspace.dataset_json
    files = [path(split) for split in SPLITS for path in (workspace.faces, workspace.faces_csv)]
    dataset = {**workspace.dataset(), "products": workspace.products(record, files)}
    write_json(record, {**dataset, "image_shape": list(large.shape[1:])})


def _peak_resident_gb() -> float:
    """Peak of this process so far, in GB. `getrusage` would count the parent process as well."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024 / 1e9


if __name__ == "__main__":
    main()
