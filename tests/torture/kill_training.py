"""Training, killed 200 times at random moments: the same bits afterwards, no temporary files.

python tests/torture/kill_training.py [KILLS]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

JOB = Path(__file__).resolve().parents[1] / "train" / "kill_training.py"


def main(kills: str) -> int:
    """The exit status of the job."""
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(
            [sys.executable, "-m", "fertool", "prepare", "synthetic", "--count", "84", "-w", root], check=True
        )
        return subprocess.run([sys.executable, str(JOB), root, kills], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "200"))
