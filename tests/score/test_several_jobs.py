"""`score --run X` by several jobs at once, as a job array has them; a last call makes the tables."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fertool.runtime.files import write_json
from fertool.score import ScoreSettings, score
from fertool.workspace import Workspace

RUNS = ["cnn", "cnn-1", "cnn-2"]
# four processes at once; forked after the imports, which would take most of the time
JOBS = """
import sys
from importlib import import_module
import torch
sys.path.insert(0, sys.argv[1])
from forked import begin, exit_code
from fertool.score import ScoreSettings, score
from fertool.workspace import Workspace

torch.set_num_threads(1)
for name in ("scipy.stats", "sklearn.metrics"):
    import_module(name)
workspace, settings = Workspace(sys.argv[2]), ScoreSettings(**{settings})
jobs = [begin(lambda run=run: score(workspace, settings, runs=[run], device="cpu")) for run in {runs}]
sys.exit(any([exit_code(job) for job in jobs]))
"""
SETTINGS = {
    "suites": ("classification,attention",),
    "target": "label",
}
FORKED = Path(__file__).parents[1] / "processes"


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    """Runs of three seeds with the same weights."""
    made = shutil.ignore_patterns("scores", "heatmaps")  # by other tests
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "jobs", ignore=made))
    for seed, name in enumerate(RUNS[1:], start=1):
        run = workspace.run(name)
        shutil.copytree(workspace.run("cnn").folder, run.folder)
        record = run.config() | {"name": name}
        write_json(run.run_json, record | {"config": record["config"] | {"seed": seed}})
    return workspace


def test_four_jobs_at_once_and_a_last_call(workspace: Workspace) -> None:
    by_one = Workspace(shutil.copytree(workspace.root, workspace.root.parent / "one"))
    # two jobs have the same run: the second waits, and makes nothing again
    program = JOBS.replace("{settings}", repr(SETTINGS)).replace("{runs}", repr([*RUNS, "cnn-2"]))
    command = [sys.executable, "-c", program, str(FORKED), str(workspace.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    def stored() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for path in workspace.stored_files()
            if "scores" in path.parts or "heatmaps" in path.parts
        }

    made = stored()
    assert made
    tables = score(workspace, ScoreSettings(**SETTINGS), device="cpu")
    assert stored() == made
    assert [row["run"] for row in tables.data["attention"]] == RUNS
    alone = score(by_one, ScoreSettings(**SETTINGS), device="cpu")
    assert tables.tables == alone.tables
    assert not [path for path in workspace.root.rglob("*") if path.suffix in (".tmp", ".partial")]
