"""prepare and report, killed 200 times at random moments: the same bits afterwards, no temporary files.

python tests/torture/kill_prepare_report.py [KILLS]
"""

import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS.parent))

from tests.report.test_kill import pictures_by_class, unpacked  # noqa: E402

JOB = TESTS / "report" / "kill_ends.py"


def main(kills: str) -> int:
    """The exit status of the job."""
    with tempfile.TemporaryDirectory() as folder:
        workspace, pictures = unpacked(Path(folder)), pictures_by_class(Path(folder))
        os.environ["PYTHONPATH"] = folder  # for the network of its run
        return os.spawnl(os.P_WAIT, sys.executable, sys.executable, JOB, workspace, pictures, kills)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "200"))
