import shutil
import subprocess
import sys
from pathlib import Path

from fertool.workspace import Workspace

KILLS = 8


def test_masks_and_explain_killed_at_random_moments_end_in_the_same_bits(
    trained: Workspace, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(trained.root, tmp_path / "ws"))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill_stages.py")), str(root), str(KILLS)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the same bits, no temporary files" in done.stdout
