"""Scores against the clock: insertion and deletion beside Quantus's, and the exact Shapley values of `cnn`.

Quantus flips pixels as its users run it (PixelFlipping, float32, batches of 64), with a perturbation that puts
the same pictures before the network, so the curves must agree. All take the same weights, faces, heatmaps,
fills and steps, in turns, in this one process: Quantus once on the network in PyTorch's default memory format,
as a user has it, and once on it in the format that fertool takes. With a workspace that holds finished runs,
classification and attention of up to four of them are timed as `fertool score` makes them, heatmaps being there.

    python tests/benchmarks/bench_score.py [--threads N] [--workspace data]
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fertool.explain.registry import parse_request
from fertool.masks import make_masks
from fertool.models import FaceClassifier
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.hardware import Compute, choose_compute
from fertool.score import score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.batched_forward import network_of
from fertool.score.perturbations.fills import blur_fill, mean_fill
from fertool.score.statistics.shapley import COALITIONS
from fertool.score.suites.causal import score_causal
from fertool.score.suites.faithfulness import flip_logits, relevance_ranks, score_faithfulness, to_faces
from fertool.score.suites.suite_inputs import explained_classes
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

FACES = 256
STEPS = 16
ROUNDS = 3
MOST_RUNS = 4
TEST_SPLIT = 3589  # faces of FER2013's


class Channelled(nn.Module):
    """The network as Quantus calls it, on pictures (B, 1, H, W), in a memory format."""

    def __init__(self, model: FaceClassifier, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(memory_format=memory_format)
        self.memory_format = memory_format

    def forward(self, planes: Tensor) -> Tensor:
        inputs = (planes / 255 - self.model.mean) / self.model.std
        return self.model.logits(inputs.contiguous(memory_format=self.memory_format))


FORMATS = {
    "Quantus": torch.contiguous_format,
    "Quantus, channels last": torch.channels_last,
}


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def evaluated_runs(folder: Path) -> dict[str, EvaluatedRun]:
    """A small `cnn` trained on synthetic faces, in each precision."""
    workspace = Workspace(folder)
    prepare(workspace, "synthetic", PrepareSettings(count=FACES * 4 // 3))
    make_masks(workspace)
    train(workspace, TrainConfig(epochs=8, lr=1e-3), name="cnn", device="cpu")
    precisions = dict.fromkeys(["fp32", choose_compute("cpu").precision])
    return {
        precision: EvaluatedRun(
            workspace, workspace.run("cnn"), "train", Compute(torch.device("cpu"), precision)
        )
        for precision in precisions
    }


def bench_insertion_and_deletion(of: dict[str, EvaluatedRun]) -> None:
    try:
        import quantus
    except ImportError as error:
        print(f"insertion and deletion: left out, Quantus is not there ({error})")
        return
    evaluated = of["fp32"]
    rows = np.arange(min(FACES, len(evaluated.faces)))
    faces = torch.from_numpy(np.array(evaluated.faces[rows])).float()
    maps = evaluated.heatmaps(parse_request("occlusion"), "predicted").rectified(rows)
    heat = to_faces(torch.from_numpy(maps), faces.shape[1:])
    ranks = relevance_ranks(heat, torch.from_numpy(rows), seed=0)
    classes = explained_classes(evaluated, "predicted")[rows]
    ways = {"deletion": (faces, mean_fill(faces)), "insertion": (blur_fill(faces), faces)}

    def ours(precision: str) -> dict[str, np.ndarray]:
        network_on = network_of(of[precision])
        curves = {}
        for name, (start, end) in ways.items():
            logits = torch.cat(
                [
                    flip_logits(network_on(few.numpy()), start[few], end[few], ranks[few], STEPS)
                    for few in torch.arange(len(rows)).split(32)
                ],
                dim=1,
            )
            curves[name] = logits.softmax(dim=2)[1:, rows, classes].T.numpy()
        return curves

    def theirs(memory_format: torch.memory_format) -> dict[str, np.ndarray]:
        curves = {}
        # heat of the same order without equal pixels, which Quantus takes as they lie in memory
        heat_of_ranks = -ranks.float()[:, None].numpy()
        for name, (start, end) in ways.items():
            ends = iter(end.flatten(1).numpy() for end in end.split(64) for _ in range(STEPS))

            def towards_end(arr: np.ndarray, indices: np.ndarray, ends=ends, **_: object) -> np.ndarray:
                np.put_along_axis(arr, indices, np.take_along_axis(next(ends), indices, 1), 1)
                return arr

            flipping = quantus.PixelFlipping(
                features_in_step=faces[0].numel() // STEPS,
                normalise=False,
                perturb_func=towards_end,
                disable_warnings=True,
            )
            curves[name] = np.array(
                flipping(
                    Channelled(evaluated.model, memory_format).eval(),
                    start[:, None].numpy(),
                    classes,
                    heat_of_ranks,
                    softmax=True,
                    device="cpu",
                    batch_size=64,
                )
            )
        return curves

    reference = theirs(FORMATS["Quantus"])
    for precision in of:
        curves = ours(precision)
        apart = {name: np.abs(curves[name] - reference[name]) for name in ways}
        worst = max(of_way.max() for of_way in apart.values())
        auc_apart = max(
            np.abs(curves[name].mean(axis=1) - reference[name].mean(axis=1)).max() for name in ways
        )
        print(
            f"  curves of {precision} beside Quantus's: at most {worst:.1e} apart, their areas {auc_apart:.1e}"
        )
        assert precision != "fp32" or worst < 1e-3, "the curves do not agree"
        assert auc_apart < 0.02, "the areas do not agree"
    runs: dict[str, Callable[[], object]] = {
        **{name: partial(theirs, memory_format) for name, memory_format in FORMATS.items()},
        **{f"fertool, {precision}": partial(ours, precision) for precision in of},
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name].append(seconds(run))
    median = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"insertion and deletion, {len(rows)} faces, {STEPS} steps, median of {ROUNDS}:")
    for name, taken in median.items():
        times_faster = median["Quantus"] / taken
        print(f"  {name:24s} {taken:6.2f} s  {len(rows) / taken:7.1f} faces/s  {times_faster:5.1f} x Quantus")


def bench_suites(of: dict[str, EvaluatedRun]) -> None:
    for precision, evaluated in of.items():
        faces = int(evaluated.located.sum())
        for fill in ("mean", "paste"):
            taken = seconds(partial(score_causal, evaluated, fills=[fill]))
            print(
                f"causal, {precision}, {fill}: {faces} faces x {COALITIONS} coalitions in {taken:.1f} s; "
                f"{TEST_SPLIT:,} faces in {taken / faces * TEST_SPLIT:.0f} s"
            )
        request = parse_request("gradcam")
        taken = seconds(partial(score_faithfulness, evaluated, request, "predicted", faces=100))
        print(f"faithfulness, {precision}: 100 faces, an explainer and its five nulls, in {taken:.1f} s")


def bench_stored(workspace: Workspace) -> None:
    names = [run.name for run in workspace.runs() if run.config()["state"] == "done"][:MOST_RUNS]
    faces = len(workspace.load_faces("test"))
    for suite in ("classification", "attention"):
        again = partial(score, workspace, suites=[suite], runs=names, target="label", force=True)
        again()  # heatmaps are made now, if they are not there
        taken = statistics.median(seconds(again) for _ in range(ROUNDS))
        print(f"{suite} of {len(names)} runs, {faces:,} faces, heatmaps being there: {taken:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{torch.get_num_threads()} threads")
    if arguments.workspace and Workspace(arguments.workspace).runs():
        bench_stored(Workspace(arguments.workspace))
    with tempfile.TemporaryDirectory() as place:
        scored = evaluated_runs(Path(place))
        bench_insertion_and_deletion(scored)
        bench_suites(scored)
