"""Trainings that are killed at random moments, and go on; trainings at the same time.

python tests/train/kill_training.py WORKSPACE KILLS

Children are forked: they begin with everything imported. Prints a JSON object of what happened; fails where a training
that was killed ends in other bits than one that was not, or leaves temporary files.
"""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch._dynamo  # optimizers import it when they are first used: here once, and not in every process

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fertool.runtime.files import read_csv
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace
from tests.processes.forked import begin, complete, exit_code, was_killed

PLAIN = TrainConfig(epochs=3, lr=1e-3, precision="fp32", batch_size=16)
CONFIGS = {
    "mixed": replace(PLAIN, ema=0.9, schedule="cosine", mixup=0.2),
    "distilled": replace(PLAIN, self_distillation=0.8, freeze_epochs=1, schedule="plateau"),
    "frozen": replace(PLAIN, unfreeze="none", flip=False, shift=0.0, dropout=0.0),
}


def training(workspace: Workspace, config: TrainConfig, name: str) -> Callable[[], object]:
    """The training of a run."""
    return partial(train, workspace, config, name=name, device="cpu")


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
    epoch_s = complete(training(workspace, config, undisturbed.name)) / config.epochs
    work, moments = training(workspace, config, run.name), random.Random(seed)
    epochs: list[int] = []
    while len(epochs) < kills:
        done_before = epochs_done(run)
        child = begin(work)
        # at once or after the next epoch, and then at any moment of an epoch
        reached = _wait_for(run, done_before + moments.randint(0, 1), child)
        if was_killed(child, moments.uniform(0, epoch_s) if reached else 0):
            epochs.append(epochs_done(run))
        if epochs_done(run) == config.epochs and len(epochs) < kills:  # compare, and begin again from nothing
            complete(work)
            require_the_same(run, undisturbed)
            shutil.rmtree(run.folder)
    complete(work)
    require_the_same(run, undisturbed)
    return epochs


def _wait_for(run: Run, epochs: int, child: int) -> bool:
    """Wait until history.csv has so many rows; false where the child ended before."""
    while epochs and not (run.history_csv.exists() and run.history_csv.read_text().count("\n") > epochs):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.01)
    return True


def at_once(workspace: Workspace) -> list[str]:
    """Two processes on one run, and one beside them on another run; returns what the refused process said."""
    refusals = workspace.root / "refusals.txt"

    def refused(line: str) -> None:
        with refusals.open("a") as file:
            file.write(f"{line}\n")

    children = [begin(training(workspace, PLAIN, name), refused) for name in ("one", "one", "other")]
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
