"""CPU seconds and memory of every command on ten thousand, a hundred thousand and a million faces, and on 200 runs.

    python tests/torture/load.py [--faces 10000,100000,1000000] [--runs 20,200] [--folder DIR]

Faces are synthetic, repeated, 48 pixels wide; each carries its number in its first pixels, so that none is another's
twin. Masks are of the landmarks that faces were drawn with: the first call makes them, the second finds them up to
date. Runs beyond the first are copies with another name and seed. Prints a row a command: CPU seconds (user and
system), the most memory of its process, and how much of that was its own (the rest are mapped files, which the system
takes back when it needs room). The exit code is 1 where a time grows faster than the faces or runs do, or own memory
exceeds its limit.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv, write_csv, write_json, write_npz
from fertool.workspace import SPLITS, Workspace

MADE = 2000  # different faces
SPLIT_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
FACES_OF_RUNS = 2000
MAX_OWN_MB_A_MILLION = 4000
CONSTANT_S = 5  # of every process, for its imports
FASTER = 1.3  # a time may grow by this more than what it is of
STAGES = {
    "masks": ["masks"],
    "masks, up to date": ["masks"],
    "train, 1 epoch": [
        "train",
        "--epochs",
        "1",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--name",
        "cnn-s0",
    ],
    "explain": ["explain", "--device", "cpu"],
    "score": ["score", "--device", "cpu"],
    "score, up to date": ["score", "--device", "cpu"],
    "score, all suites": ["score", "--suite", "all", "--device", "cpu"],
    "report": ["report"],
}
OVER_RUNS = ("explain", "score", "score, up to date", "report")

Cost = tuple[float, int, int]  # CPU seconds, the most MB of the process, and of these its own


def main() -> int:
    """Run every command on every size; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--faces", default="10000,100000,1000000", help="numbers of faces, with commas between"
    )
    parser.add_argument("--runs", default="20,200", help="numbers of runs, with commas between")
    parser.add_argument("--folder", type=Path, help="where workspaces go (default: a temporary folder)")
    parser.add_argument("--write", nargs=2, metavar=("DIR", "FACES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_faces(Workspace(arguments.write[0]), int(arguments.write[1]))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        of_faces = {
            count: costs_of_faces(Path(folder) / "faces", count) for count in numbers(arguments.faces)
        }
        of_runs = {count: costs_of_runs(Path(folder) / "runs", count) for count in numbers(arguments.runs)}
    failures = [*faults(of_faces, "faces"), *faults(of_runs, "runs")]
    for line in failures:
        print(f"FAILED {line}")
    return int(bool(failures))


def numbers(text: str) -> list[int]:
    """The numbers of an option."""
    return [int(number) for number in text.split(",") if number]


def costs_of_faces(root: Path, count: int) -> dict[str, Cost]:
    """Every stage in a workspace of so many faces."""
    write_in_a_process(root, count)
    costs = {name: cost(root, stage, f"{count:,} faces", name) for name, stage in STAGES.items()}
    shutil.rmtree(root)
    return costs


def costs_of_runs(root: Path, count: int) -> dict[str, Cost]:
    """The stages that go through all runs, in a workspace of few faces."""
    write_in_a_process(root, FACES_OF_RUNS)
    for name in ("masks", "train, 1 epoch"):
        measured(root, STAGES[name])
    workspace = Workspace(root)
    first = workspace.run("cnn-s0")
    for seed in range(1, count):
        copy = workspace.run(f"cnn-s{seed}")
        shutil.copytree(first.folder, copy.folder)
        record = first.config()
        write_json(
            copy.run_json,
            {**record, "name": copy.name, "config": {**record["config"], "seed": seed}},
        )
    costs = {name: cost(root, STAGES[name], f"{count} runs", name) for name in OVER_RUNS}
    shutil.rmtree(root)
    return costs


def cost(root: Path, stage: list[str], where: str, name: str) -> Cost:
    """The cost of a stage, which is printed."""
    found = measured(root, stage)
    print(f"{where:>16}  {name:18} {found[0]:8.1f} CPU s {found[1]:7,} MB, own {found[2]:6,} MB", flush=True)
    return found


def write_in_a_process(root: Path, count: int) -> None:
    """Write faces in a process of their own: a process begins with the most memory that its parent had."""
    subprocess.run([sys.executable, __file__, "--write", str(root), str(count)], check=True)


def measured(root: Path, stage: list[str]) -> Cost:
    """The cost of a command. Raises RuntimeError, with what it said, where it fails."""
    command = [sys.executable, "-m", "fertool", *stage, "-w", str(root)]
    own_mb = 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            own_mb = max(own_mb, own_memory_mb(process.pid))
            time.sleep(0.1)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read().decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, own_mb


def own_memory_mb(pid: int) -> int:
    """The resident memory of a process without mapped files, now; 0 where it has just ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def faults(costs: dict[int, dict[str, Cost]], what: str) -> list[str]:
    """A line for each time that grows faster than the number of faces or runs, and for memory beyond its limit."""
    lines = [
        f"{name}, {many:,} {what}: {own_mb:,} MB of its own"
        for many, found in costs.items()
        for name, (_, _, own_mb) in found.items()
        if own_mb > MAX_OWN_MB_A_MILLION
    ]
    for (few, before), (many, after) in zip(list(costs.items())[:-1], list(costs.items())[1:], strict=True):
        for name, (seconds, *_) in after.items():
            most_s = FASTER * many / few * max(before[name][0], CONSTANT_S)
            if seconds > most_s:
                lines.append(
                    f"{name}, {many:,} {what}: {seconds:.0f} CPU s where {most_s:.0f} would be linear"
                )
    return lines


def write_faces(workspace: Workspace, count: int) -> None:
    """A workspace of so many faces: those of each split repeated, no two alike; their truth holds landmarks alone."""
    prepare(workspace, "synthetic", PrepareSettings(count=MADE))
    counts = {split: round(share * count) for split, share in SPLIT_SHARES.items()}
    for split, faces in counts.items():
        own = np.array(workspace.load_faces(split))
        target = workspace.faces(split).with_suffix(".many.npy")
        many = np.lib.format.open_memmap(target, "w+", np.uint8, (faces, *own.shape[1:]))
        for start in range(0, faces, len(own)):
            some = own[: faces - start].copy()
            numbers = np.arange(start, start + len(some), dtype=">u4")
            some[:, 0, :4] = numbers.view(np.uint8).reshape(-1, 4)
            many[start : start + len(some)] = some
        many.flush()
        del many
        target.replace(workspace.faces(split))
        rows = read_csv(workspace.faces_csv(split))
        write_csv(
            workspace.faces_csv(split),
            list(rows[0]),
            (
                [number, f"{split}_{number}", rows[number % len(rows)]["label"], "repeated", ""]
                for number in range(faces)
            ),
        )
        landmarks = workspace.load_truth(split)["landmarks"]
        write_npz(workspace.truth(split), landmarks=landmarks[np.arange(faces) % len(own)])
    files = [
        path(split) for split in SPLITS for path in (workspace.faces, workspace.faces_csv, workspace.truth)
    ]
    record = workspace.dataset()
    splits = {
        split: {
            **record["splits"][split],
            "count": counts[split],
        }
        for split in record["splits"]
    }
    products = workspace.products(workspace.dataset_json, files)
    write_json(workspace.dataset_json, {**record, "splits": splits, "products": products})


if __name__ == "__main__":
    sys.exit(main())
