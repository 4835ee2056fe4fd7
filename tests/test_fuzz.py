"""A few rounds of tests/torture/fuzz_workspace.py."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("torture") / "fuzz_workspace.py"


def test_damaged_files_of_a_workspace_are_refused_in_one_line_or_read_as_written() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", "100", "--show"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'refused'" in done.stdout and "FAILED" not in done.stdout
