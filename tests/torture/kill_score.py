"""score, killed 200 times at random moments: the same bits afterwards, no temporary files.

python tests/torture/kill_score.py [KILLS]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

JOB = Path(__file__).resolve().parents[1] / "score" / "kill_scores.py"


def main(kills: str) -> int:
    """The exit status of the job."""
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(folder) / "data")
        for command in (
            ["prepare", "synthetic", "--count", "210"],
            ["masks"],
            ["train", "--epochs", "1", "--precision", "fp32", "--device", "cpu", "--name", "cnn"],
        ):
            subprocess.run([sys.executable, "-m", "fertool", *command, "-w", root], check=True)
        return subprocess.run([sys.executable, str(JOB), root, kills], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "200"))
