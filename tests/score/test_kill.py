"""Scorings that are killed at random moments end in the same bits."""

import shutil
import subprocess
import sys
from pathlib import Path

from fertool.workspace import Workspace

JOB = Path(__file__).with_name("kill_scores.py")
KILLS = 3  # `make torture` has 200


def test_a_scoring_that_is_killed_leaves_nothing_wrong(trained: Workspace, tmp_path: Path) -> None:
    root = shutil.copytree(trained.root, tmp_path / "ws")
    done = subprocess.run(
        [sys.executable, str(JOB), str(root), str(KILLS)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bits each time" in done.stdout
