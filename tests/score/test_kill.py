"""A few rounds of tests/torture/kill_score.py."""

import subprocess
import sys
from pathlib import Path

from fertool.workspace import Workspace

SCRIPT = Path(__file__).resolve().parents[1] / "torture" / "kill_score.py"


def test_a_scoring_that_is_killed_leaves_nothing_wrong(trained: Workspace) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "2", "--workspace", str(trained.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bits each time" in done.stdout
