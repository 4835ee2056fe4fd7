import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

ARCHIVE = Path(__file__).parents[1] / "workspace_before.tar.xz"
KILLS = 2


def unpacked(folder: Path) -> Path:
    """A workspace with scored runs; the module of its network lies beside it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "data"


def pictures_by_class(folder: Path) -> Path:
    """Sixty pictures in folders by split and class."""
    generator = np.random.default_rng(0)
    for place in (f"pictures/{split}/{name}" for split in ("train", "test") for name in ("happy", "sad")):
        (folder / place).mkdir(parents=True)
        for number in range(15):
            pixels = generator.integers(0, 256, (48, 48), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")
    return folder / "pictures"


def test_prepare_and_report_killed_at_random_moments_end_in_the_same_bits(tmp_path: Path) -> None:
    job = [Path(__file__).with_name("kill_ends.py"), unpacked(tmp_path), pictures_by_class(tmp_path)]
    done = subprocess.run(
        [sys.executable, *map(str, job), str(KILLS), "tables"],
        capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "kills of prepare, report: the same bits, no temporary files" in done.stdout
