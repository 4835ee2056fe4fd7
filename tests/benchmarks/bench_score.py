"""Time of scores: insertion and deletion compared with Quantus, and the exact Shapley values of `cnn`.

    python tests/benchmarks/bench_score.py [--threads N] [--workspace data]

Quantus flips pixels as its users run it (PixelFlipping, float32, batches of 64), with a perturbation that shows the
network the same pictures, so that the curves must agree. All contenders share weights, faces, heatmaps, fills, steps
and process, and take turns. Quantus runs once on the network in PyTorch's default memory format, as a user has it, and
once in the format that fertool uses. If the workspace holds finished runs, classification and attention of up to four
of them are timed as `fertool score` makes them from stored heatmaps.
"""

import argparse
import copy
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from fertool.score.perturbations.fills import blur_fill, mean_fill
from fertool.score.perturbations.number_format import network_of
from fertool.score.settings import ScoreSettings
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
MAX_RUNS = 4
FER2013_TEST_FACES = 3589
CURVE_TOLERANCE, AREA_TOLERANCE = 1e-3, 0.02  # probabilities; the curves of fp32, the areas of each precision

Curves = dict[str, np.ndarray]  # probability of the explained class (faces, STEPS), by deletion and insertion


class QuantusNetwork(nn.Module):
    """The network as Quantus calls it, on pixels (B, 1, H, W), in a memory format."""

    def __init__(self, model: FaceClassifier, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(memory_format=memory_format)
        self.memory_format = memory_format

    def forward(self, pixels: Tensor) -> Tensor:
        inputs = (pixels / 255 - self.model.mean) / self.model.std
        return self.model.logits(inputs.contiguous(memory_format=self.memory_format))


FORMATS = {
    "Quantus": torch.contiguous_format,
    "Quantus, channels last": torch.channels_last,
}


def seconds(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def evaluated_runs(folder: Path) -> dict[str, EvaluatedRun]:
    """A small `cnn` trained on synthetic faces, by the precision in which it is evaluated."""
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


@dataclass(frozen=True)
class FlippedFaces:
    """Faces, and the order of an explainer's heat in which their pixels are flipped."""

    rows: np.ndarray  # int64 (N,)
    ranks: Tensor  # int64 (N, H, W): the rank of each pixel, the hottest first
    classes: np.ndarray  # int64 (N,): the explained classes
    ends: dict[str, tuple[Tensor, Tensor]]  # first and last picture (N, H, W), by deletion and insertion

    @classmethod
    def of_run(cls, evaluated: EvaluatedRun) -> "FlippedFaces":
        """The first faces of a run, by the heat of occlusion."""
        rows = np.arange(min(FACES, len(evaluated.faces)))
        faces = torch.from_numpy(np.array(evaluated.faces[rows])).float()
        maps = evaluated.heatmaps(parse_request("occlusion"), "predicted").rectified(rows)
        heat = to_faces(torch.from_numpy(maps), faces.shape[1:])
        return cls(
            rows,
            relevance_ranks(heat, torch.from_numpy(rows), seed=0),
            explained_classes(evaluated, "predicted")[rows],
            {"deletion": (faces, mean_fill(faces)), "insertion": (blur_fill(faces), faces)},
        )


def fertool_curves(flipped: FlippedFaces, evaluated: EvaluatedRun) -> Curves:
    """Curves of fertool, in the run's precision."""
    network_on = network_of(evaluated)
    curves = {}
    for name, (start, end) in flipped.ends.items():
        logits = torch.cat(
            [
                flip_logits(network_on(batch.numpy()), start[batch], end[batch], flipped.ranks[batch], STEPS)
                for batch in torch.arange(len(flipped.rows)).split(32)
            ],
            dim=1,
        )
        curves[name] = logits.softmax(dim=2)[1:, flipped.rows, flipped.classes].T.numpy()
    return curves


def quantus_curves(
    flipped: FlippedFaces, evaluated: EvaluatedRun, memory_format: torch.memory_format
) -> Curves:
    """Curves of Quantus, on the network in a memory format."""
    import quantus

    curves = {}
    # heat of the same order without ties, which Quantus breaks by position in memory
    untied_heat = -flipped.ranks.float()[:, None].numpy()
    for name, (start, end) in flipped.ends.items():
        ends = iter(batch.flatten(1).numpy() for batch in end.split(64) for _ in range(STEPS))

        def towards_end(arr: np.ndarray, indices: np.ndarray, ends=ends, **_: object) -> np.ndarray:
            np.put_along_axis(arr, indices, np.take_along_axis(next(ends), indices, 1), 1)
            return arr

        flipping = quantus.PixelFlipping(
            features_in_step=start[0].numel() // STEPS,
            normalise=False,
            perturb_func=towards_end,
            disable_warnings=True,
        )
        curves[name] = np.array(
            flipping(
                QuantusNetwork(evaluated.model, memory_format).eval(),
                start[:, None].numpy(),
                flipped.classes,
                untied_heat,
                softmax=True,
                device="cpu",
                batch_size=64,
            )
        )
    return curves


def check_agreement(precision: str, curves: Curves, reference: Curves) -> None:
    """Print how far curves differ from Quantus's. Raises AssertionError where they disagree."""
    pairs = [(curves[name], reference[name]) for name in reference]
    curve_difference = max(np.abs(ours - theirs).max() for ours, theirs in pairs)
    area_difference = max(np.abs(ours.mean(axis=1) - theirs.mean(axis=1)).max() for ours, theirs in pairs)
    print(
        f"  curves in {precision} differ from Quantus's by at most {curve_difference:.1e}, "
        f"their areas by {area_difference:.1e}"
    )
    assert precision != "fp32" or curve_difference < CURVE_TOLERANCE, "the curves disagree"
    assert area_difference < AREA_TOLERANCE, "the areas disagree"


def bench_insertion_and_deletion(runs: dict[str, EvaluatedRun]) -> None:
    """Time both curves beside Quantus, once they agree."""
    if importlib.util.find_spec("quantus") is None:
        print("insertion and deletion: skipped, Quantus is not installed")
        return
    flipped = FlippedFaces.of_run(runs["fp32"])
    reference = quantus_curves(flipped, runs["fp32"], FORMATS["Quantus"])
    for precision, evaluated in runs.items():
        check_agreement(precision, fertool_curves(flipped, evaluated), reference)
    contenders: dict[str, Callable[[], object]] = {
        name: partial(quantus_curves, flipped, runs["fp32"], memory_format)
        for name, memory_format in FORMATS.items()
    }
    for precision, evaluated in runs.items():
        contenders[f"fertool, {precision}"] = partial(fertool_curves, flipped, evaluated)
    rounds_s: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            rounds_s[name].append(seconds(contender))
    median_s = {name: statistics.median(measured_s) for name, measured_s in rounds_s.items()}
    faces = len(flipped.rows)
    print(f"insertion and deletion, {faces} faces, {STEPS} steps, median of {ROUNDS}:")
    for name, taken_s in median_s.items():
        speedup = median_s["Quantus"] / taken_s
        print(f"  {name:24s} {taken_s:6.2f} s  {faces / taken_s:7.1f} faces/s  {speedup:5.1f} x Quantus")


def bench_suites(runs: dict[str, EvaluatedRun]) -> None:
    """Time the suites causal and faithfulness."""
    for precision, evaluated in runs.items():
        faces = int(evaluated.located.sum())
        for fill in ("mean", "paste"):
            taken_s = seconds(partial(score_causal, evaluated, fills=[fill]))
            print(
                f"causal, {precision}, {fill}: {faces} faces x {COALITIONS} coalitions in {taken_s:.1f} s; "
                f"{FER2013_TEST_FACES:,} faces in {taken_s / faces * FER2013_TEST_FACES:.0f} s"
            )
        request = parse_request("gradcam")
        taken_s = seconds(partial(score_faithfulness, evaluated, request, "predicted", faces=100))
        print(f"faithfulness, {precision}: 100 faces, one explainer and its five nulls, in {taken_s:.1f} s")


def bench_stored(workspace: Workspace) -> None:
    """Time classification and attention of finished runs whose heatmaps are stored."""
    names = [run.name for run in workspace.runs() if run.config()["state"] == "done"][:MAX_RUNS]
    faces = len(workspace.load_faces("test"))
    for suite in ("classification", "attention"):
        settings = ScoreSettings(suites=[suite], target="label")
        rescore = partial(score, workspace, settings, runs=names, force=True)
        rescore()  # makes missing heatmaps
        taken_s = statistics.median(seconds(rescore) for _ in range(ROUNDS))
        print(f"{suite} of {len(names)} runs, {faces:,} faces, from stored heatmaps: {taken_s:.2f} s")


def main() -> None:
    """Run all three benches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="threads (default: torch's)"
    )
    parser.add_argument("--workspace", type=Path, help="workspace with finished runs (default: none)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{torch.get_num_threads()} threads")
    if arguments.workspace and Workspace(arguments.workspace).runs():
        bench_stored(Workspace(arguments.workspace))
    with tempfile.TemporaryDirectory() as folder:
        runs = evaluated_runs(Path(folder))
        bench_insertion_and_deletion(runs)
        bench_suites(runs)


if __name__ == "__main__":
    main()
