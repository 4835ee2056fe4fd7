"""masks and explain killed at random moments, over and over, and gone on with; a job for a process of its own.

    python tests/explain/kill_stages.py WORKSPACE KILLS

The workspace holds faces and a run; the exit status is 0 where the products are the same bits afterwards.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fertool.explain import ExplainSettings, explain
from fertool.explain.registry import EXPLAINERS
from fertool.masks import MaskSettings, known_landmarks, make_masks
from fertool.workspace import Workspace
from tests.processes.forked import complete, kill_until_done

BATCH_FACES = 16  # so that there are many batches to be killed in


def stages(workspace: Workspace) -> dict[str, Callable[[], object]]:
    """Each stage, with the work it does for each of its kinds of products."""
    maps = ExplainSettings(["gradcam", "random", "occlusion@stride=24"], device="cpu")
    return {
        "masks": lambda: make_masks(workspace, MaskSettings(detector="template")),
        "explain": lambda: explain(workspace, maps),
        "explain all": lambda: explain(workspace, replace(maps, explainers=["hirescam"], target="all")),
    }


def products(workspace: Workspace) -> dict[Path, bytes]:
    """Every file that the stages leave; locks and the cache of hashes apart."""
    folders = [workspace.masks_json.parent, *(run.results for run in workspace.runs())]
    return {
        path: path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def forget(workspace: Workspace) -> None:
    """Remove what the stages make."""
    for path in products(workspace):
        if "masks" in path.parts or {"heatmaps", "predictions"} & set(path.parts):
            path.unlink()


def main(root: str, kills: int) -> int:
    """The exit status."""
    workspace, moments, killed = Workspace(root), random.Random(0), 0
    known_landmarks.ROWS_AT_ONCE = BATCH_FACES
    for name, explainer in EXPLAINERS.items():
        EXPLAINERS[name] = replace(explainer, batch_size=BATCH_FACES)
    forget(workspace)
    works = stages(workspace)
    longest_s = {name: complete(work) for name, work in works.items()}
    undisturbed = products(workspace)
    while killed < kills:
        forget(workspace)
        for name, work in works.items():
            killed += kill_until_done(work, longest_s[name], moments)
            complete(work)
        if products(workspace) != undisturbed:
            now = products(workspace)
            unlike = [str(path) for path in {*now, *undisturbed} if now.get(path) != undisturbed.get(path)]
            print(f"after {killed} kills other products: {', '.join(sorted(unlike))}", file=sys.stderr)
            return 1
    print(f"{killed} kills of {', '.join(works)}: the same bits, no temporary files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
