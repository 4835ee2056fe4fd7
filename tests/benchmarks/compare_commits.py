"""Time of a command of fertool now and at an earlier commit, in turns: what a change to the code is worth.

    python tests/benchmarks/compare_commits.py COMMIT score --suite all --faces 100 --run cnn-s0 [--workspace data]

Each side has a copy of the workspace of its own and makes everything again (--force), so a workspace with one run is
enough. The first round is not counted: it also fills the caches of both.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def main() -> None:
    """Print the medians of both sides, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--workspace", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=3)
    given, command = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tree = folder / "tree"
        git("worktree", "add", "--detach", str(tree), given.commit)
        try:
            sides = {"before": tree, "now": REPOSITORY}
            for side in sides:
                shutil.copytree(given.workspace, folder / side)
            took = {side: [] for side in sides}
            for number in range(given.rounds + 1):
                for side, code in sides.items():
                    seconds = timed(code, [*command, "--force", "--workspace", str(folder / side)])
                    if number:
                        took[side].append(seconds)
        finally:
            git("worktree", "remove", "--force", str(tree))
    for unit, what in enumerate(("s", "s of CPU")):
        before, now = (
            statistics.median(seconds[unit] for seconds in took[side]) for side in ("before", "now")
        )
        medians = f"{before:.1f} {what} at {given.commit}, {now:.1f} {what} now"
        print(f"{' '.join(command)}: {medians}, {before / now:.2f} times")


def git(*arguments: str) -> None:
    """Run git on the repository."""
    subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True)


def timed(code: Path, command: list[str]) -> tuple[float, float]:
    """The seconds, and the CPU's, that a command takes with the code of a folder; its line is the error."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    started_s, before = time.monotonic(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", "fertool", *command], env=environment, cwd=code, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr.strip())
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - started_s, used_s


if __name__ == "__main__":
    main()
