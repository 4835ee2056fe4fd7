"""score killed at random moments; a job for a process of its own.

    python tests/score/kill_scores.py WORKSPACE KILLS

The workspace holds masks and a run `cnn`. Every round scores with masks of another margin in the place of those before,
is killed after a random time, and is scored with the first masks again: what lies there then must be what lay there
first, byte for byte, with no temporary file beside it. The last line says how many kills hit a running process.
"""

import random
import shutil
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fertool.masks import MaskSettings, make_masks
from fertool.score import ScoreSettings, score
from fertool.workspace import Workspace
from tests.processes.forked import begin, complete, was_killed

SETTINGS = ScoreSettings(suites=["classification", "attention", "sanity", "representation"], target="label")


def products(workspace: Workspace) -> dict[str, bytes]:
    """Every file of scores, by its path. Raises AssertionError where a temporary file is left."""
    left = [
        path for path in workspace.root.rglob("*") if path.name.endswith(".tmp") or ".partial" in path.name
    ]
    assert not left, f"temporary files are left: {left}"
    folder = workspace.run("cnn").folder / "scores"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def swap_masks(root: Path, other: Path) -> None:
    """Put the masks of another folder in the place of those that lie there."""
    shutil.rmtree(root / "masks")
    shutil.copytree(other, root / "masks")


def main(root: Path, kills: int) -> int:
    """Kill and compare; 1 where a byte differs."""
    workspace, moments, hit = Workspace(root), random.Random(0), 0
    for name in ("scipy.stats", "sklearn.linear_model", "sklearn.metrics", "sklearn.pipeline"):
        import_module(name)  # suites do so when they are first used: here once, and not in every process

    def work() -> None:
        score(workspace, SETTINGS, device="cpu")

    own = shutil.copytree(root / "masks", root.with_name("own"))
    whole_s = complete(work)
    right = products(workspace)
    make_masks(workspace, MaskSettings(margin=0.4))
    other = shutil.copytree(root / "masks", root.with_name("other"))
    for number in range(kills):
        swap_masks(root, other)
        hit += was_killed(begin(work), moments.uniform(0, whole_s))
        swap_masks(root, own)
        complete(work)
        found = products(workspace)
        if found != right:
            changed = [name for name in {*right, *found} if right.get(name) != found.get(name)]
            print(f"kill {number}: other bytes in {', '.join(sorted(changed))}", file=sys.stderr)
            return 1
    print(f"{hit} of {kills} kills hit a running process; {len(right)} files, the same bits each time")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
