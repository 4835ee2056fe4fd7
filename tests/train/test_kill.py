"""Training that is killed at any moment, over and over, and gone on with."""

import json
import subprocess
import sys
from pathlib import Path

from fertool.runtime.files import read_csv
from fertool.workspace import Workspace

KILLS = 20

# forks children that train: they begin in the middle of things, without the seconds that imports take
JOB = """
import json, os, random, signal, sys, time
import torch
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

workspace, kills = Workspace(sys.argv[1]), int(sys.argv[2])
config = TrainConfig(epochs=6, lr=1e-3, precision="fp32", ema=0.9, schedule="cosine", mixup=0.2)

def begin(name):
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            train(workspace, config, name=name, device="cpu")
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
    return child

def finish():
    # to the end, where nothing of the kills is to be seen
    assert os.waitpid(begin("disturbed"), 0)[1] == 0
    ours, theirs = workspace.run("disturbed"), workspace.run("undisturbed")
    assert ours.best.read_bytes() == theirs.best.read_bytes()
    assert ours.history_csv.read_bytes() == theirs.history_csv.read_bytes()
    states = [torch.load(run.last, weights_only=True) for run in (ours, theirs)]
    for of_ours, of_theirs in zip(*([state["network"], state["mean"]["network"]] for state in states)):
        assert of_ours.keys() == of_theirs.keys()
        assert all(torch.equal(value, of_theirs[name]) for name, value in of_ours.items())
    assert not [path for path in ours.folder.iterdir() if path.name.endswith(".tmp")]

started_s = time.monotonic()
assert os.waitpid(begin("undisturbed"), 0)[1] == 0
latest_s = 0.5 * (time.monotonic() - started_s)  # of the moments of a kill
moments, last = random.Random(0), workspace.run("disturbed").last
killed, epochs = 0, []
while killed < kills or not 0 < epochs[-1] < config.epochs:  # the last one is gone on with as well
    child = begin("disturbed")
    time.sleep(moments.uniform(0, latest_s))
    os.kill(child, signal.SIGKILL)
    killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    if not last.exists():  # the first epoch is not reached: the machine is busier than it was
        latest_s *= 1.1
    epochs.append(len(torch.load(last)["history"]) if last.exists() else 0)
    if epochs[-1] == config.epochs:  # done before all kills: once more from nothing
        finish()
        os.system(f"rm -r {last.parent}")
finish()
print(json.dumps(epochs))
"""


def test_killed_at_twenty_moments_it_ends_in_the_same_bits(synthetic: Workspace, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    done = subprocess.run(
        [sys.executable, str(script), str(synthetic.root), str(KILLS)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    epochs = json.loads(done.stdout)
    assert len(epochs) >= KILLS
    disturbed = synthetic.run("disturbed")
    assert len(read_csv(disturbed.history_csv)) == 6 and disturbed.config()["state"] == "done"
