"""Trainings that are killed at random moments end in the same bits; two processes on one run do not both train it."""

import json
import subprocess
import sys
from pathlib import Path

from fertool.prepare import PrepareSettings, prepare
from fertool.workspace import Workspace

JOB = Path(__file__).with_name("kill_training.py")
KILLS = 4  # `make torture` has 200


def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    prepare(Workspace(tmp_path / "ws"), "synthetic", PrepareSettings(count=42))
    done = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path / "ws"), str(KILLS)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    happened = json.loads(done.stdout)
    assert sum(map(len, happened["epochs"].values())) >= KILLS
    (refusal,) = happened["refused"]
    assert "another process is training this run" in refusal
