"""A few rounds of tests/torture/fuzz_sources.py; FERTOOL_FUZZ_ROUNDS sets another number."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "torture" / "fuzz_sources.py"


def test_damaged_sources_are_refused_in_a_line_or_read_whole():
    rounds = os.environ.get("FERTOOL_FUZZ_ROUNDS", "40")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", rounds, "--seed", "500"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1].startswith(f"{int(rounds):,} sources: ")
