"""Scorings that are killed at random moments end in the same bits."""

import subprocess
import sys
from pathlib import Path

from fertool.masks import make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

JOB = Path(__file__).with_name("kill_scores.py")
KILLS = 3  # `make torture` has 200


def test_a_scoring_that_is_killed_leaves_nothing_wrong(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws")
    prepare(workspace, "synthetic", PrepareSettings(count=140))
    make_masks(workspace)
    train(workspace, TrainConfig(epochs=1, lr=1e-3, precision="fp32"), name="cnn", device="cpu")
    done = subprocess.run(
        [sys.executable, str(JOB), str(workspace.root), str(KILLS)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bits each time" in done.stdout
