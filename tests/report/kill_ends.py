"""prepare and report, the first and the last command, killed at random moments; a job for a process of its own.

    python tests/report/kill_ends.py WORKSPACE PICTURES KILLS [PART]

The workspace holds a scored run; PICTURES is a folder of pictures by split and class, which is prepared into a folder
of its own. PART is a part of the report, as `--only` takes it. The exit status is 0 where the products are the same
bits afterwards, and none is left that is not whole.
"""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib.pyplot  # noqa: F401  # here once, and not in every process

from fertool.prepare import prepare
from fertool.report import ReportSettings, write_report
from fertool.workspace import Workspace
from tests.processes.forked import complete, kill_until_done


def products(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; locks and the cache of hashes apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock") and path.name != ".fingerprints.json"
    }


def main(root: Path, pictures: Path, kills: int, *only: str) -> int:
    """The exit status."""
    moments, killed = random.Random(0), 0
    scored, prepared = Workspace(root), Workspace(root.with_name("prepared"))
    stages: dict[str, tuple[Path, Callable[[], object]]] = {
        "prepare": (prepared.root, lambda: prepare(prepared, pictures)),
        "report": (scored.report.parent, lambda: write_report(scored, ReportSettings(only=only))),
    }
    while killed < kills:
        for name, (folder, work) in stages.items():
            shutil.rmtree(folder, ignore_errors=True)
            longest_s = complete(work)
            undisturbed = products(folder)
            shutil.rmtree(folder)
            killed += kill_until_done(work, longest_s, moments)
            complete(work)
            if (found := products(folder)) != undisturbed:
                unlike = {path for path in {*found, *undisturbed} if found.get(path) != undisturbed.get(path)}
                print(f"{name}, {killed} kills: other products: {', '.join(sorted(unlike))}", file=sys.stderr)
                return 1
    print(f"{killed} kills of {', '.join(stages)}: the same bits, no temporary files")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
