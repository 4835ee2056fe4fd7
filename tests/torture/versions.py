"""The suite, once on each Python that setup.cfg names, and once on the oldest versions of everything that it admits.

    python tests/torture/versions.py [--only 3.12] [--folder DIR]

One environment at a time (5 to 7 GB each), which is removed afterwards; the oldest versions are installed on the oldest
Python. A Python that is not on the PATH (as python3.12) is named and left out. Prints the last line of each suite; the
exit code is 1 where one fails, or where the oldest versions cannot be installed together.
"""

import argparse
import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST = "oldest"
# as in the Makefile: with their dependencies they would install a second cv2
WITHOUT_DEPENDENCIES = ["grad-cam>=1.5", "ttach>=0.0.3", "quantus>=0.6"]


def setup() -> configparser.ConfigParser:
    """The content of setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def pythons() -> list[str]:
    """The versions of Python among the classifiers, oldest first."""
    return re.findall(r"Python :: (3\.\d+)", setup()["metadata"]["classifiers"])


def oldest_versions() -> list[str]:
    """Every requirement of the package at its lower bound: `numpy==1.26`."""
    lines = setup()["options"]["install_requires"].splitlines()
    return [line.replace(">=", "==") for line in lines if line and not line.startswith("#")]


def requirements(name: str) -> list[str]:
    """The requirements to install: the package itself, what tests need, and for the oldest their pins.

    Beside the oldest versions there is no place for those of transformers that `--model hf:` needs: its tests skip.
    """
    if name != OLDEST:
        return ["--editable", f"{ROOT}[dev,dlib]"]
    tools = setup()["options.extras_require"]["dev"].splitlines()
    tools = [line for line in tools if line and not line.startswith(("#", "transformers"))]
    return ["--editable", f"{ROOT}[dlib]", *oldest_versions(), *tools]


def run_suite(python: str, wanted: list[str], folder: Path) -> tuple[bool, str]:
    """Install into a new environment and run the suite; whether it passed, and its last line."""
    environment = folder / "environment"
    own = environment / "bin" / "python"
    log = folder / "log"
    steps: list[list[str | Path]] = [
        [python, "-m", "venv", environment],
        [own, "-m", "pip", "install", "--quiet", *wanted],
        [own, "-m", "pip", "install", "--quiet", "--no-deps", *WITHOUT_DEPENDENCIES],
        [own, "-m", "pytest", "-p", "no:cacheprovider"],
    ]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}
    passed = True
    with log.open("w+") as said:
        for step in steps:
            if subprocess.run(
                step, stdout=said, stderr=said, cwd=ROOT, env=variables, check=False
            ).returncode:
                passed = False
                break
        said.seek(0)
        lines = said.read().splitlines()
    shutil.rmtree(environment, ignore_errors=True)
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return passed, "\n    ".join([*failures, lines[-1] if lines else "nothing was said"])


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help=f"a version of Python, or '{OLDEST}' (default: each in turn)")
    parser.add_argument(
        "--folder", type=Path, help="where environments are made (default: a temporary folder)"
    )
    options = parser.parse_args()
    failed = False
    for name in [*pythons(), OLDEST]:
        if options.only not in (None, name):
            continue
        version = pythons()[0] if name == OLDEST else name
        python = shutil.which(f"python{version}")
        if python is None:
            print(f"{name}: left out, python{version} is not on the PATH")
            continue
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            passed, line = run_suite(python, requirements(name), Path(folder))
        print(f"{name}: {'passed' if passed else 'FAILED'}: {line}", flush=True)
        failed |= not passed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
