"""A stand-in for `fertool` on the path of a study's script: it notes its arguments, and trains nothing."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from fertool.cli import app

# most calls are only noted: without Python that takes a millisecond
SHELL = """#!/bin/sh
case "$*" in
train* | report* | *--json*) exec {python} "${{0%/*}}/noted.py" "$@" ;;
esac
mkdir -p "$FERTOOL_WORKSPACE"
echo "${{FERTOOL_WORKSPACE##*/}} $*" >>"$CALLS"
"""

# notes its arguments, and answers as `fertool` does
STAND_IN = """
import importlib.util, json, os, shlex, sys
from pathlib import Path

root, arguments = Path(os.environ["FERTOOL_WORKSPACE"]), sys.argv[1:]
root.mkdir(parents=True, exist_ok=True)  # as `prepare` does
with open(os.environ["CALLS"], "a") as calls:
    print(root.name, shlex.join(arguments), file=calls)
option = lambda name: arguments[arguments.index(name) + 1]
if arguments[0] == "train":
    module, colon, _ = option("--model").partition(":")
    assert not colon or module == "multiscale" or importlib.util.find_spec(module), f"{module} is not on the path"
    # as fertool.train.seeds, without the seconds that torch takes to import
    ranges = [part.partition("-") for part in option("--seeds").split(",")]
    seeds = [seed for first, _, last in ranges for seed in range(int(first), int(last or first) + 1)]
    weights = [float(text) for text in option("--guide-weight").split(",")] if "--guide" in arguments else [1.0]
    several = len(weights) > 1
    runs = [
        {"name": option("--name") + f"-g{weight:g}" * several + f"-s{seed}", "config": {"guide_weight": weight}}
        for weight in weights
        for seed in seeds
    ]
    chosen = json.loads(os.environ["CHOSEN"]) if 0 in weights else None
    print(json.dumps({"runs": runs, **({"chosen": chosen} if several else {})}))
elif arguments[0] == "report":
    (root / "report").mkdir(exist_ok=True)
    (root / "report/index.html").write_text(shlex.join(arguments))
elif "--json" in arguments:
    print(json.dumps({"arguments": arguments}))
"""


def calls_of(script: Path, folder: Path, variables: Mapping[str, str]) -> list[list[str]]:
    """Run a study's script. Returns the calls of `fertool`: the workspace's name, then the arguments.

    Args:
        script: the script, for `sh`.
        folder: holds the stand-in and its notes.
        variables: of the environment; CHOSEN is the lambda that trainings choose, as JSON.

    Raises:
        click.UsageError: for a call with an option or value that there is not.
    """
    done = run_script(script, folder, variables)
    assert done.returncode == 0, done.stderr
    calls = [shlex.split(line) for line in (folder / "calls").read_text().splitlines()]
    commands = typer.main.get_command(app).commands
    for _, command, *arguments in calls:
        commands[command].make_context(command, arguments)
    return calls


def run_script(
    script: Path, folder: Path, variables: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a study's script, given `arguments`, with the stand-in, as `calls_of` does, and look at nothing."""
    (folder / "bin").mkdir()
    stand_in = folder / "bin/fertool"
    stand_in.write_text(SHELL.format(python=sys.executable))
    stand_in.with_name("noted.py").write_text(STAND_IN)
    stand_in.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        **variables,
    }
    command = ["sh", str(script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
