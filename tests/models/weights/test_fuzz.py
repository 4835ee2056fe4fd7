import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "torture" / "fuzz_weights.py"


def test_damaged_files_of_weights_are_read_or_refused_in_one_line() -> None:
    """A few rounds of `make torture`."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", "300", "--show"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'refused'" in done.stdout and "FAILED" not in done.stdout
