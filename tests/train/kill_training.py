"""Trainings that are killed at random moments, and go on; trainings at the same time.

python tests/train/kill_training.py WORKSPACE KILLS

Children are forked: they begin with everything imported. Prints a JSON object of what happened; fails where a training
that was killed ends in other bits than one that was not, or leaves temporary files.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from fertool.errors import UserError
from fertool.runtime.files import read_csv
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace

PLAIN = TrainConfig(epochs=4, lr=1e-3, precision="fp32")
CONFIGS = {
    "mixed": replace(PLAIN, ema=0.9, schedule="cosine", mixup=0.2),
    "distilled": replace(PLAIN, self_distillation=0.8, freeze_epochs=1, schedule="plateau"),
    "frozen": replace(PLAIN, unfreeze="none", flip=False, shift=0.0, dropout=0.0),
}


def begin(workspace: Workspace, config: TrainConfig, name: str, refusals: Path | None = None) -> int:
    """Fork a process that trains; its exit status is 1 where it is refused."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            train(workspace, config, name=name, device="cpu")
            os._exit(0)
        except UserError as error:
            if refusals is not None:
                with refusals.open("a") as file:
                    file.write(f"{error}\n")
            os._exit(1)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(2)
    return child


def exit_code(child: int) -> int:
    """Wait for a child; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def require_the_same(ours: Run, theirs: Run) -> None:
    """Fail where a run that was killed differs from one that was not, seconds apart."""
    for path in (theirs.best, theirs.last, theirs.history_csv):
        assert (ours.folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert ours.config() == {**theirs.config(), "name": ours.name}
    assert len(read_csv(ours.timing_csv)) == len(read_csv(theirs.timing_csv))
    files = {path.relative_to(ours.folder) for path in ours.folder.rglob("*")}
    assert files == {path.relative_to(theirs.folder) for path in theirs.folder.rglob("*")}


def epochs_done(run: Run) -> int:
    """The epochs in `last.pt`."""
    return len(torch.load(run.last, weights_only=True)["history"]) if run.last.exists() else 0


def kill_over_and_over(
    workspace: Workspace, config: TrainConfig, name: str, kills: int, seed: int
) -> list[int]:
    """Kill a training `kills` times; returns the epochs that were done after each kill."""
    run, undisturbed = workspace.run(name), workspace.run(f"undisturbed-{name}")
    started_s = time.monotonic()
    assert exit_code(begin(workspace, config, undisturbed.name)) == 0
    epoch_s = (time.monotonic() - started_s) / config.epochs
    moments = random.Random(seed)
    epochs: list[int] = []
    while len(epochs) < kills:
        done_before = epochs_done(run)
        child = begin(workspace, config, run.name)
        # at once or after the next epoch, and then at any moment of an epoch
        reached = _wait_for(run, done_before + moments.randint(0, 1), child)
        time.sleep(moments.uniform(0, epoch_s) if reached else 0)
        os.kill(child, signal.SIGKILL)
        if exit_code(child) == -signal.SIGKILL:
            epochs.append(epochs_done(run))
        if epochs_done(run) == config.epochs:  # compare, and begin again from nothing
            assert exit_code(begin(workspace, config, run.name)) == 0
            require_the_same(run, undisturbed)
            shutil.rmtree(run.folder)
    assert exit_code(begin(workspace, config, run.name)) == 0
    require_the_same(run, undisturbed)
    return epochs


def _wait_for(run: Run, epochs: int, child: int) -> bool:
    """Wait until history.csv has so many rows; false where the child ended before."""
    while not (epochs == 0 or (run.history_csv.exists() and len(read_csv(run.history_csv)) >= epochs)):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.005)
    return True


def at_once(workspace: Workspace) -> list[str]:
    """Two processes on one run, and one beside them on another run; returns what the refused process said."""
    refusals = workspace.root / "refusals.txt"
    names = ("one", "one", "other")
    children = [begin(workspace, PLAIN, name, refusals) for name in names]
    codes = [exit_code(child) for child in children]
    assert sorted(codes[:2]) == [0, 1] and codes[2] == 0, codes
    one, other = workspace.run("one"), workspace.run("other")
    assert one.best.read_bytes() == other.best.read_bytes()
    said = refusals.read_text().splitlines()
    refusals.unlink()
    return said


def main(root: str, kills: int) -> None:
    """Kill each configuration's training in turn."""
    workspace = Workspace(root)
    shares = [len(range(number, kills, len(CONFIGS))) for number in range(len(CONFIGS))]
    epochs = {
        name: kill_over_and_over(workspace, config, name, share, seed)
        for seed, ((name, config), share) in enumerate(zip(CONFIGS.items(), shares, strict=True))
        if share
    }
    print(json.dumps({"epochs": epochs, "refused": at_once(workspace)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
