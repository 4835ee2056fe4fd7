"""`score`, killed at random moments: the same figures afterwards, byte for byte, and no temporary files.

    python tests/torture/kill_score.py [--kills 50] [--seed 0] [--workspace DIR]

Every round scores with masks of another margin in the place of those before, is killed after a random time, and is
scored with the first masks again: what lies there then must be what lay there first. Without `--workspace`, which must
hold a run `cnn`, one is made. The last line says how many kills hit a running process.
"""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUITES = "classification,attention,sanity,representation"
LONGEST_S = 300


def fertool(root: Path, *arguments: str) -> list[str]:
    """The command line of a subcommand in a workspace."""
    return [sys.executable, "-m", "fertool", *arguments, "-w", str(root)]


def run(root: Path, *arguments: str) -> None:
    """Run a subcommand to its end."""
    subprocess.run(fertool(root, *arguments), check=True, capture_output=True, timeout=LONGEST_S)


def prepared(root: Path) -> None:
    """A small workspace with a trained run."""
    run(root, "prepare", "synthetic", "--count", "210")
    run(root, "masks")
    run(root, "train", "--epochs", "1", "--precision", "fp32", "--device", "cpu", "--name", "cnn")


def scored(root: Path) -> dict[str, str]:
    """Score to the end; the SHA-256 of every file of scores, by its path."""
    run(root, "score", "--suite", SUITES, "--target", "label", "--device", "cpu")
    folder = root / "runs" / "cnn" / "scores"
    left = [path for path in root.rglob("*") if path.name.endswith(".tmp") or ".partial" in path.name]
    assert not left, f"temporary files are left: {left}"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_once(root: Path, after_s: float) -> bool:
    """Start scoring anew and kill it; whether it was still running."""
    command = fertool(root, "score", "--suite", SUITES, "--target", "label", "--device", "cpu")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def swap_masks(root: Path, other: Path) -> None:
    """Put the masks of another folder in the place of those that lie there."""
    shutil.rmtree(root / "masks")
    shutil.copytree(other, root / "masks")


def main() -> int:
    """Kill and compare; 1 where a figure differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="rounds (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--workspace", type=Path, help="a workspace with a run cnn, which is copied")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root, hit = Path(folder) / "data", 0
        if arguments.workspace:
            shutil.copytree(arguments.workspace, root)
        else:
            prepared(root)
        own = shutil.copytree(root / "masks", Path(folder) / "own")
        begin = time.monotonic()
        right = scored(root)
        whole_s = time.monotonic() - begin
        run(root, "masks", "--margin", "0.4")
        other = shutil.copytree(root / "masks", Path(folder) / "other")
        for number in range(arguments.kills):
            swap_masks(root, other)
            hit += kill_once(root, moments.uniform(0.3, 1) * whole_s)
            swap_masks(root, own)
            found = scored(root)
            if found != right:
                changed = sorted(
                    name for name in right.keys() | found.keys() if right.get(name) != found.get(name)
                )
                print(f"kill {number} of seed {arguments.seed}: other bytes in {', '.join(changed)}")
                return 1
        print(
            f"{hit} of {arguments.kills} kills hit a running process; {len(right)} files, the same bits each time"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
