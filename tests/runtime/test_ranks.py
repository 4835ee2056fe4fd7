"""Two processes on one job, as torchrun starts them (gloo), beside one."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from fertool.explain import ExplainSettings, explain
from fertool.masks import MaskSettings, make_masks
from fertool.masks.detectors.dlib import dlib_version
from fertool.models import build_model, load_model, predict_logits
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv, read_json
from fertool.runtime.hardware import Compute
from fertool.runtime.ranks import Ranks
from fertool.score import ScoreSettings, score
from fertool.train import train
from fertool.train.batches import own_part
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

# neither batch norm nor dropout, so that a batch's parts make the whole; the last step has fewer faces
CONFIG = TrainConfig(
    epochs=2, lr=1e-3, dropout=0.0, batch_size=23, precision="fp32", rotate_deg=10, mixup=0.3, clip=0.5
)
DISTILLED = replace(CONFIG, epochs=3, mixup=0.0, self_distillation=1.0)
# unlike Adam, and unlike a clipped step, this follows the size of a gradient
DESCENDED = replace(CONFIG, mixup=0.0, optimizer="sgd", lr=1e-4, clip=None)
# Adam would make of the rounding of a gradient near 0 a whole step, which moves a map by a thousandth
GUIDED = replace(DESCENDED, mixup=0.3, guide="background", guide_warmup=1.0)
NORMED = TrainConfig(model="resnet48", image_size=16, epochs=1, lr=1e-2, batch_size=23, precision="fp32")
DETECTOR = "dlib" if dlib_version() else "template"

# scored by the job; causal-agreement reads what causal has stored, and faces are explained again
SCORED = {
    "suites": ("classification,attention,causal,causal-agreement",),
    "explainer": "hirescam",
    "fills": ("mean",),
}
SCORED |= {"target": "label", "nulls": False}

JOB = """
if __name__ == "__main__":  # and not in workers, which import this again
    import json
    import sys
    from pathlib import Path
    from fertool.__main__ import main
    from fertool.explain import ExplainSettings, explain
    from fertool.masks import MaskSettings, make_masks, making
    from fertool.runtime.ranks import join_ranks
    from fertool.score import ScoreSettings, score
    from fertool.train import train
    from fertool.workspace import Workspace
    from tests_config import CONFIG, DESCENDED, DETECTOR, DISTILLED, GUIDED, NORMED, SCORED

    making.DEALT_FACES = 16
    workspace = Workspace(sys.argv[1])
    train(workspace, GUIDED, name="guided", device="cpu")
    make_masks(workspace, MaskSettings(detector=DETECTOR, workers=1), force=True)
    train(workspace, CONFIG, name="cnn", device="cpu")
    train(workspace, DISTILLED, name="distilled", device="cpu")
    train(workspace, DESCENDED, name="descended", device="cpu")
    explain(workspace, ExplainSettings(["gradcam", "swapped"], device="cpu"))
    train(workspace, NORMED, name="normed", device="cpu")
    summary = score(workspace, ScoreSettings(**SCORED), runs=["cnn", "distilled"], device="cpu")
    Path(sys.argv[1], f"figures-{join_ranks().rank}.json").write_text(json.dumps(summary.data))
    Path(sys.argv[1], f"done-{join_ranks().rank}").touch()
    sys.argv[1:] = ["train", "--workspace", sys.argv[2], "--name", "held", "--device", "cpu"]
    main()
"""


def torchrun(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *arguments,
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.fixture(scope="module")
def job(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Workspace, Workspace, subprocess.CompletedProcess[str]]:
    """The same job done by one process and by two, which end with a training that the first of them is refused."""
    folder = tmp_path_factory.mktemp("ranks")
    one = Workspace(folder / "one")
    prepare(one, "synthetic", PrepareSettings(count=70))
    make_masks(one)
    two = Workspace(shutil.copytree(one.root, folder / "two"))
    train(one, GUIDED, name="guided", device="cpu")
    make_masks(one, MaskSettings(detector=DETECTOR, workers=1), force=True)
    train(one, CONFIG, name="cnn", device="cpu")
    train(one, DISTILLED, name="distilled", device="cpu")
    train(one, DESCENDED, name="descended", device="cpu")
    explain(one, ExplainSettings(["gradcam", "swapped"], device="cpu"))
    (folder / "job.py").write_text(JOB)
    configs = {
        "CONFIG": CONFIG,
        "DESCENDED": DESCENDED,
        "DETECTOR": DETECTOR,
        "DISTILLED": DISTILLED,
        "GUIDED": GUIDED,
        "NORMED": NORMED,
        "SCORED": SCORED,
    }
    lines = [f"{name} = {config!r}" for name, config in configs.items()]
    (folder / "tests_config.py").write_text(
        "\n".join(["from fertool.train.config import TrainConfig", *lines])
    )
    with one.run("held").locked():
        done = torchrun(str(folder / "job.py"), str(two.root), str(one.root), folder=folder)
    assert sorted(path.name for path in two.root.glob("done-*")) == ["done-0", "done-1"], done.stderr
    return one, two, done


@pytest.fixture(scope="module")
def both(job: tuple[Workspace, Workspace, object]) -> tuple[Workspace, Workspace]:
    return job[:2]


@pytest.mark.parametrize("run", ["cnn", "distilled"])
def test_two_processes_have_the_learning_curve_of_one(both: tuple[Workspace, Workspace], run: str) -> None:
    curves = [
        np.array(
            [
                [
                    float(row[name])
                    for name in ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
                ]
                for row in read_csv(workspace.run(run).history_csv)
            ]
        )
        for workspace in both
    ]
    assert curves[0].shape == ({"cnn": 2, "distilled": 3}[run], 5)
    assert np.allclose(curves[0][:, [0, 1, 3]], curves[1][:, [0, 1, 3]], rtol=1e-3)
    for column, split in ((2, "train"), (4, "val")):  # a face may be on an edge
        face = 1 / len(both[0].load_labels(split))
        assert np.allclose(curves[0][:, column], curves[1][:, column], atol=1.5 * face)
    assert both[1].run(run).config()["state"] == "done"


@pytest.mark.parametrize("run", ["descended", "guided"])
def test_two_processes_go_the_steps_of_one(both: tuple[Workspace, Workspace], run: str) -> None:
    torch.manual_seed(DESCENDED.seed)
    start = build_model("cnn", 7, dropout=0.0).network.state_dict()
    one, two = (torch.load(workspace.run(run).last, weights_only=True)["network"] for workspace in both)
    for name, value in one.items():
        assert (two[name] - value).norm() <= 1e-2 * (value - start[name]).norm(), name


@pytest.mark.parametrize("processes", [2, 3, 8])
@given(faces=st.integers(1, 40))
def test_a_batch_is_shared_without_rest_and_nobody_has_a_single_face(processes: int, faces: int) -> None:
    order, batch = list(range(faces + 20)), slice(10, 10 + faces)
    own = [own_part(batch, Ranks(rank, processes)) for rank in range(processes)]
    parts = [(order[part], weight) for part, weight in own]
    assert sorted(row for rows, weight in parts if weight for row in rows) == order[batch]
    assert sum(weight for _, weight in parts) == pytest.approx(1)
    assert all(weight in (0, len(rows) / faces) for rows, weight in parts)
    assert min(len(rows) for rows, _ in parts) >= min(2, faces)


def test_two_processes_are_guided_as_one(both: tuple[Workspace, Workspace]) -> None:
    one, two = (read_csv(workspace.run("guided").history_csv) for workspace in both)
    for ours, theirs in zip(two, one, strict=True):
        assert float(ours["val_empty_maps"]) == float(theirs["val_empty_maps"])
        for name in ("train_loss", "train_guide_loss", "train_background_share", "val_background_share"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name


def test_val_is_measured_with_the_statistics_that_are_saved(both: tuple[Workspace, Workspace]) -> None:
    workspace = both[1]
    run = workspace.run("normed")
    logits = predict_logits(
        load_model(run.best), workspace.load_faces("val"), Compute(torch.device("cpu"), "fp32")
    )
    labels = torch.from_numpy(workspace.load_labels("val"))
    (row,) = read_csv(run.history_csv)
    assert F.cross_entropy(torch.from_numpy(logits), labels).item() == pytest.approx(
        float(row["val_loss"]), rel=1e-5
    )


def test_two_processes_explain_every_face_once_in_order(both: tuple[Workspace, Workspace]) -> None:
    workspace = both[1]
    place = workspace.run("cnn").heatmaps("gradcam", "predicted", "test")
    by_two = np.load(place).copy()
    explain(workspace, ExplainSettings(["gradcam"], device="cpu"), force=True)
    assert np.allclose(by_two, np.load(place), atol=1e-6)
    assert not list(place.parent.glob("*.partial"))
    null = workspace.run("cnn").heatmaps("swapped@of=gradcam", "predicted", "test")
    assert np.load(null).shape == by_two.shape


def test_two_processes_make_the_same_masks(both: tuple[Workspace, Workspace]) -> None:
    for split in ("train", "val", "test"):
        one, two = (np.load(workspace.region_maps(split)) for workspace in both)
        assert np.array_equal(one, two)
    assert read_json(both[0].masks_json)["found"] == read_json(both[1].masks_json)["found"]


def test_two_processes_score_runs_as_one(both: tuple[Workspace, Workspace]) -> None:
    """Each process has the figures of all runs, and those that one process makes of the same files are the same."""
    two = both[1]
    first, second = (json.loads((two.root / f"figures-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    for run in ("cnn", "distilled"):
        stored = [each for each in two.run(run).stored_scores("test")]
        assert {each.suite for each in stored} == set(SCORED["suites"][0].split(","))
        shutil.rmtree(two.run(run).folder / "scores")
    alone = score(two, ScoreSettings(**SCORED), runs=["cnn", "distilled"], device="cpu")
    assert json.loads(json.dumps(alone.data)) == first


def test_an_error_of_the_first_alone_ends_all(
    job: tuple[Workspace, Workspace, subprocess.CompletedProcess[str]],
) -> None:
    """Only the first process asks for the lock; what it is told, the others hear of."""
    done = job[2]
    assert done.returncode != 0
    assert "another process is training this run" in done.stderr
    assert 'job.py", line' not in done.stderr, "a traceback of a process that lost the first"


def test_one_process_alone_exchanges_nothing() -> None:
    ranks = Ranks()
    assert ranks.is_first and ranks.broadcast_from_rank0(lambda: 3) == 3
    assert list(ranks.in_order([1, 2, 3], lambda job: job * 2)) == [2, 4, 6]
    assert ranks.sum(torch.tensor(2.0)) == 2
    ranks.wait()
