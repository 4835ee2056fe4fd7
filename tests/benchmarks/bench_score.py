"""Scores against the clock: insertion and deletion beside Quantus's, and the exact Shapley values of `cnn`.

Quantus flips pixels as its users run it (PixelFlipping, float32, batches of 64, its own pixel order), with a
perturbation that puts the same pictures before the network, so the curves must agree. Both take the same
trained network, the same faces, heatmaps, fills and steps, in turns, in this one process.

    python tests/benchmarks/bench_score.py
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fertool.explain.registry import parse_request
from fertool.hardware import Compute, choose_compute
from fertool.masks import make_masks
from fertool.prepare import prepare
from fertool.score.causal import score_causal
from fertool.score.explained import explained_classes
from fertool.score.faithfulness import flip_logits, relevance_ranks, score_faithfulness, to_faces
from fertool.score.fills import blur_fill, mean_fill
from fertool.score.network import network_of
from fertool.score.shapley import COALITIONS
from fertool.score.subject import Subject
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

FACES = 256
STEPS = 16
ROUNDS = 3
TEST_SPLIT = 3589  # faces of FER2013's


class Channelled(nn.Module):
    """A network on faces as Quantus calls it: pictures (B, 1, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        return self.network(planes[:, 0])


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def subjects(folder: Path) -> dict[str, Subject]:
    """A small `cnn` trained on drawn faces, in each precision."""
    workspace = Workspace(folder)
    prepare(workspace, "synthetic", count=FACES * 4 // 3)
    make_masks(workspace)
    train(workspace, TrainConfig(epochs=8, lr=1e-3), name="cnn", device="cpu")
    precisions = dict.fromkeys(["fp32", choose_compute("cpu").precision])
    return {
        precision: Subject(workspace, workspace.run("cnn"), "train", Compute(torch.device("cpu"), precision))
        for precision in precisions
    }


def bench_insertion_and_deletion(of: dict[str, Subject]) -> None:
    try:
        import quantus
    except ImportError as error:
        print(f"insertion and deletion: left out, Quantus is not there ({error})")
        return
    subject = of["fp32"]
    rows = np.arange(min(FACES, len(subject.faces)))
    faces = torch.from_numpy(np.array(subject.faces[rows])).float()
    maps = subject.heatmaps(parse_request("occlusion"), "predicted").rectified(rows)
    heat = to_faces(torch.from_numpy(maps), faces.shape[1:])
    ranks = relevance_ranks(heat, torch.from_numpy(rows), seed=0)
    classes = explained_classes(subject, "predicted")[rows]
    ways = {"deletion": (faces, mean_fill(faces)), "insertion": (blur_fill(faces), faces)}

    def ours(precision: str) -> dict[str, np.ndarray]:
        network = network_of(of[precision])
        curves = {}
        for name, (start, end) in ways.items():
            logits = torch.cat(
                [
                    flip_logits(network, start[few], end[few], ranks[few], STEPS)
                    for few in torch.arange(len(rows)).split(32)
                ],
                dim=1,
            )
            curves[name] = logits.softmax(dim=2)[1:, rows, classes].T.numpy()
        return curves

    def theirs() -> dict[str, np.ndarray]:
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
                    Channelled(subject.model).eval(),
                    start[:, None].numpy(),
                    classes,
                    heat_of_ranks,
                    softmax=True,
                    device="cpu",
                    batch_size=64,
                )
            )
        return curves

    reference = theirs()
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
    times: dict[str, list[float]] = {"Quantus": [], **{precision: [] for precision in of}}
    for _ in range(ROUNDS):
        times["Quantus"].append(seconds(theirs))
        for precision in of:
            times[precision].append(seconds(lambda precision=precision: ours(precision)))
    median = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"insertion and deletion, {len(rows)} faces, {STEPS} steps:")
    for name, taken in median.items():
        print(
            f"  {name:8s} {taken:6.2f} s  {len(rows) / taken:7.1f} faces/s  {median['Quantus'] / taken:5.1f} x Quantus"
        )


def bench_suites(of: dict[str, Subject]) -> None:
    for precision, subject in of.items():
        faces = int(subject.located.sum())
        for fill in ("mean", "paste"):
            taken = seconds(lambda fill=fill, subject=subject: score_causal(subject, fills=[fill]))
            print(
                f"causal, {precision}, {fill}: {faces} faces x {COALITIONS} coalitions in {taken:.1f} s; "
                f"{TEST_SPLIT:,} faces in {taken / faces * TEST_SPLIT:.0f} s"
            )
        request = parse_request("gradcam")
        taken = seconds(
            lambda subject=subject: score_faithfulness(subject, request, "predicted", faces=100)  # noqa: B023
        )
        print(f"faithfulness, {precision}: 100 faces, an explainer and its five nulls, in {taken:.1f} s")


if __name__ == "__main__":
    if "--threads" in sys.argv:
        torch.set_num_threads(int(sys.argv[sys.argv.index("--threads") + 1]))
    print(f"{torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as place:
        scored = subjects(Path(place))
        bench_insertion_and_deletion(scored)
        bench_suites(scored)
