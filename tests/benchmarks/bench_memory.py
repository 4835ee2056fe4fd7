"""The most memory that `fertool train` has resident: on a set of FER2013's size, and on one that is far larger.

    python tests/benchmarks/bench_memory.py [--gib 4]

Both sets are synthetic faces, repeated; the large one's are enlarged eight times, and it stays in its file. With --gib
above the machine's memory nothing but the file can hold it; what is resident does not grow with it. Resident is what
Linux counts as the process's own (VmHWM), pages of mapped files among it. GB are 10^9 bytes.
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
from fertool.runtime.files import read_csv, write_csv
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

FER2013_FACES = 28_709  # of train
ENLARGED = 8
LEAST_GIB = 1
MOST_GB, MOST_OF_LARGE_GB = 1.5, 2.0  # a batch of the enlarged faces takes more, too


def main() -> None:
    """Train an epoch on each set; exit 1 where more was resident than may be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=4, help="size of the large set, at least 1")
    parser.add_argument("--one", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train(Workspace(arguments.one), TrainConfig(epochs=1), device="cpu")
        print(_most_resident_gb())
        return
    any_missed = False
    for enlarged, gib, most_gb in (
        (1, None, MOST_GB),
        (ENLARGED, max(LEAST_GIB, arguments.gib), MOST_OF_LARGE_GB),
    ):
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder) / "ws")
            prepare(workspace, "synthetic", PrepareSettings(count=2000))
            faces = FER2013_FACES if gib is None else round(gib * 2**30 / (48 * enlarged) ** 2)
            _repeat(workspace, faces, enlarged)
            size_gib = workspace.faces("train").stat().st_size / 2**30
            # in a process of its own, whose memory none of the writing was
            command = [sys.executable, __file__, "--one", str(workspace.root)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            resident_gb = float(output.splitlines()[-1])
        any_missed |= missed(
            f"{faces:,} faces of {48 * enlarged} pixels, {size_gib:.1f} GiB: {resident_gb:.2f} GB resident (at "
            f"most {most_gb})",
            resident_gb <= most_gb,
        )
    sys.exit(1 if any_missed else 0)


def _repeat(workspace: Workspace, count: int, enlarged: int) -> None:
    """Make the train split `count` faces: its own, each pixel `enlarged` times a side, over and over."""
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


def _most_resident_gb() -> float:
    """Of this process so far. `getrusage` would count the process that started it as well."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024 / 1e9


if __name__ == "__main__":
    main()
