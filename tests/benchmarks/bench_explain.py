"""The explainers beside what a user would take instead, and beside the forward pass alone.

    python tests/benchmarks/bench_explain.py [--quick] [--workspace data] [--run NAME]

Same network, batch, threads and process; rounds in which each is timed once, in turn; medians. Peak memory
is that of a process which does nothing else, above what it holds before. Exit 1 where maps do not agree.
Weights are random: speed does not depend on them. With a workspace that holds a finished run of `cnn`, the
whole test split is explained as `fertool explain` does it. On a machine that has other work to do,
`--clock cpu` with OMP_NUM_THREADS=1 tells more than the time on the wall.
"""

import argparse
import contextlib
import copy
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from targets import missed
from torch import Tensor

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain
from fertool.explain.methods.attention import rollout
from fertool.explain.methods.cams import gradcam
from fertool.explain.methods.guided_backprop import guided_gradcam
from fertool.models import FaceClassifier, build_model
from fertool.prepare.synthetic.faces import draw_faces
from fertool.score.suites.shares import region_shares, region_weights
from fertool.workspace import Workspace

Contender = Callable[[], Tensor | None]  # does one batch; its maps (B, h, w), or None for a forward pass

SAME = 1e-4  # of the largest cell
SHARE_POINTS = 0.2  # what a region's mean share may move by in bfloat16


@dataclass(frozen=True)
class Scene:
    """Contenders over one network and batch, and what is asked of them."""

    title: str
    batch: int
    model: FaceClassifier
    region_maps: np.ndarray  # uint8 (B, H, W)
    contenders: dict[str, Contender]
    targets: list[tuple[str, str, float]]  # a, b, least speed of a as a multiple of b's
    same_maps: list[tuple[str, str]]
    bfloat16_of: list[tuple[str, str]]


def bfloat16() -> contextlib.AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def forward(
    network: torch.nn.Module, inputs: Tensor, precision: Callable = contextlib.nullcontext
) -> Contender:
    def run() -> None:
        with torch.inference_mode(), precision():
            network(inputs)

    return run


def ours(
    explainer: Callable, model: FaceClassifier, faces: Tensor, precision: Callable = contextlib.nullcontext
) -> Contender:
    """From the faces as stored, preprocessing included, for the class that is predicted in float32."""
    with torch.inference_mode():
        classes = model(faces).argmax(dim=1, keepdim=True)

    def run() -> Tensor:
        with precision():
            return explainer(model, faces, lambda logits: classes).heatmaps[:, 0]

    return run


def convolutional(batch: int) -> Scene:
    """ResNet-50 at 224 pixels."""
    torch.manual_seed(0)
    synthetic = draw_faces(batch, seed=0)
    faces = torch.from_numpy(synthetic.images)
    fast = build_model("resnet50", 7).eval()  # its weights lie channels_last
    model = copy.deepcopy(fast).to(memory_format=torch.contiguous_format)  # as other tools are given it
    layer, inputs = model.layer(model.cam_layer), model.preprocess(faces).contiguous()
    channels_last = inputs.contiguous(memory_format=torch.channels_last)

    def pytorch_grad_cam() -> Tensor:
        with GradCAM(model.network, [layer]) as cam:
            return torch.from_numpy(
                cam(inputs, None)
            )  # of the predicted class, at 224 pixels, scaled to 0..1

    def captum() -> Tensor:
        with torch.no_grad():
            predicted = model.network(inputs).argmax(dim=1)
        return LayerGradCam(model.network, layer).attribute(inputs, target=predicted)[:, 0].detach()

    def as_pytorch_grad_cam() -> Tensor:
        maps = ours(gradcam, fast, faces)().clamp(min=0).numpy()
        for _ in range(2):  # as it does: a layer's map, and the mean over layers
            maps = scale_cam_image(maps, (224, 224))
        return torch.from_numpy(maps)

    return Scene(
        "ResNet-50 at 224 pixels",
        batch,
        fast,
        synthetic.region_maps,
        {
            "forward": forward(model.network, inputs),
            "forward, channels_last": forward(fast.network, channels_last),
            "forward, bf16 channels_last": forward(fast.network, channels_last, bfloat16),
            "gradcam": ours(gradcam, fast, faces),
            "gradcam, bf16": ours(gradcam, fast, faces, bfloat16),
            "guided-gradcam": ours(guided_gradcam, fast, faces),
            "pytorch-grad-cam": pytorch_grad_cam,
            "captum LayerGradCam": captum,
            "gradcam, as pytorch-grad-cam": as_pytorch_grad_cam,
        },
        [
            ("gradcam", "pytorch-grad-cam", 3.5),
            ("gradcam", "captum LayerGradCam", 2.0),
            ("gradcam", "forward, channels_last", 1 / 1.15),
            ("gradcam, bf16", "pytorch-grad-cam", 7.0),
            ("gradcam, bf16", "forward, bf16 channels_last", 1 / 1.15),
            ("guided-gradcam", "forward, channels_last", 1 / 2.5),
        ],
        [("gradcam", "captum LayerGradCam"), ("gradcam, as pytorch-grad-cam", "pytorch-grad-cam")],
        [("gradcam, bf16", "gradcam")],
    )


def transformer(batch: int) -> Scene:
    """ViT-B/16 at 224 pixels."""
    torch.manual_seed(0)
    synthetic = draw_faces(batch, seed=0)
    faces = torch.from_numpy(synthetic.images)
    model = build_model("vit", 7).eval()
    inputs = model.preprocess(faces)
    usual_network = copy.deepcopy(model.network)
    for block in usual_network.blocks:
        block.attn.fused_attn = False

    def usual_rollout(precision: Callable = contextlib.nullcontext) -> Contender:
        """What is found when one looks for 'vit rollout': hooks, then T x T products through all blocks."""

        def run() -> Tensor:
            attention: list[Tensor] = []
            hooks = [
                block.attn.attn_drop.register_forward_hook(lambda *args: attention.append(args[2].cpu()))
                for block in usual_network.blocks
            ]
            with torch.no_grad(), precision():
                usual_network(inputs)
            result = torch.eye(attention[0].shape[-1])
            for weights in attention:
                mixed = (weights.float().mean(dim=1) + torch.eye(weights.shape[-1])) / 2
                result = torch.matmul(mixed / mixed.sum(dim=-1, keepdim=True), result)
            for hook in hooks:
                hook.remove()
            return result[:, 0, 1:].reshape(-1, 14, 14)

        return run

    return Scene(
        "ViT-B/16 at 224 pixels",
        batch,
        model,
        synthetic.region_maps,
        {
            "forward, fused": forward(model.network, inputs),
            "rollout": ours(rollout, model, faces),
            "usual rollout": usual_rollout(),
            "forward, fused, bf16": forward(model.network, inputs, bfloat16),
            "rollout, bf16": ours(rollout, model, faces, bfloat16),
            "usual rollout, bf16": usual_rollout(bfloat16),
        },
        [
            ("rollout", "forward, fused", 1 / 1.2),
            ("rollout, bf16", "forward, fused, bf16", 1 / 1.2),
        ],
        [("rollout", "usual rollout")],
        [("rollout, bf16", "rollout")],
    )


SCENES = {"convolutional": (convolutional, 16), "transformer": (transformer, 8)}
UNTIMED = ("gradcam, as pytorch-grad-cam",)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def medians(scene: Scene, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds a batch, after a round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in scene.contenders if name not in UNTIMED}
    for number in range(rounds + 1):
        for name, taken in seconds.items():
            start = clock()
            scene.contenders[name]()
            if number > 0:
                taken.append(clock() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def maps_agree(scene: Scene) -> bool:
    agree = True
    for name, other in scene.same_maps:
        maps, reference = scene.contenders[name](), scene.contenders[other]()
        difference = float((maps - reference).abs().max() / reference.abs().max())
        agree &= difference <= SAME
        print(
            f"  {name} and {other}: maps differ by {difference:.1e} of the largest cell (at most {SAME:.0e})"
        )
    for name, other in scene.bfloat16_of:
        shares = []
        for maps in (scene.contenders[name](), scene.contenders[other]()):
            weights = region_weights(scene.region_maps, tuple(maps.shape[1:]))
            shares.append(np.nanmean(region_shares(maps.clamp(min=0).numpy(), weights), axis=0))
        moved = 100 * float(np.abs(shares[0] - shares[1]).max())
        agree &= moved <= SHARE_POINTS
        print(
            f"  {name}: no region's mean share moves by more than {moved:.2f} points (at most {SHARE_POINTS})"
        )
    return agree


def peak_memory_mb(scene_name: str, contender: str, batch: int) -> float:
    command = [sys.executable, __file__, "--peak-memory", scene_name, contender, "--batch", str(batch)]
    trimming = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed memory goes back at once
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=trimming)
    return float(done.stdout)


def print_peak_memory(scene_name: str, contender: str, batch: int) -> None:
    run = SCENES[scene_name][0](batch).contenders[contender]
    before = resident_mb("VmRSS")
    with contextlib.suppress(OSError):  # Linux only: else the peak since the process began
        Path("/proc/self/clear_refs").write_text("5")
    run()
    print(max(resident_mb("VmHWM") - before, 0))


def resident_mb(field: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def bench(scene_name: str, quick: bool, clock: str) -> bool:
    make, batch = SCENES[scene_name]
    batch = 4 if quick else batch
    scene = make(batch)
    print(f"\n{scene.title}, batch {batch}")
    agree = maps_agree(scene)
    seconds = medians(scene, 2 if quick else 7, CLOCKS[clock])
    print(f"  {'':30s}{'images/s':>10s}{'ms/batch':>10s}{'peak MB':>10s}")
    for name, taken in seconds.items():
        memory = "" if quick else f"{peak_memory_mb(scene_name, name, batch):10.0f}"
        print(f"  {name:30s}{batch / taken:10.1f}{1000 * taken:10.0f}{memory}")
    for name, other, least in scene.targets:
        speed = seconds[other] / seconds[name]
        asked, got = (
            (f"at least {least:g} times the speed of", f"{speed:.2f}")
            if least >= 1
            else (f"at most {1 / least:.2f} times the time of", f"{1 / speed:.2f}")
        )
        missed(f"{name}: {asked} {other}: {got}", speed >= least)
    return agree


def bench_split(workspace: Workspace, run_name: str | None, precision: str) -> None:
    """All of the test split, as `fertool explain` does it, heatmaps streamed to disk; in a copy."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Workspace(Path(folder))
        run = workspace.run(run_name)
        shutil.copy(workspace.root / "dataset.json", copied.root)
        (copied.root / "faces").symlink_to((workspace.root / "faces").resolve())
        place = copied.root / "runs" / run.name
        place.mkdir(parents=True)
        for file in (run.run_json, run.best):
            shutil.copy(file, place)
        start = time.perf_counter()
        explain(copied, ExplainSettings(["gradcam"], runs=[run.name], device="cpu", precision=precision))
        taken = time.perf_counter() - start
        faces = len(workspace.load_faces("test"))
    missed(
        f"{run.name}, {faces:,} faces of test, {precision}: {taken:.1f} s (at most 5 s for FER2013's 3,589), "
        f"{faces / taken:,.0f} images/s",
        taken <= 5,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches, few rounds, no memory")
    parser.add_argument("--workspace", type=Path, default=Path("data"))
    parser.add_argument("--run", help="a finished run of cnn there (default: the first)")
    parser.add_argument("--scene", choices=SCENES, nargs="*", default=list(SCENES))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--peak-memory", nargs=2, metavar=("SCENE", "CONTENDER"), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory:
        print_peak_memory(*arguments.peak_memory, arguments.batch)
        return 0

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, load",
        end=" ",
    )
    print(", ".join(f"{load:.1f}" for load in os.getloadavg()))
    agree = all([bench(name, arguments.quick, arguments.clock) for name in arguments.scene])

    print(f"\nGrad-CAM of a whole split, workspace {arguments.workspace}")
    workspace = Workspace(arguments.workspace)
    try:
        cnns = [run.name for run in workspace.runs() if run.config()["model"] == "cnn"]
        names = [arguments.run] if arguments.run else cnns[:1]
        for name in names:
            for precision in ("fp32", "bf16"):
                bench_split(workspace, name, precision)
        if not names:
            print("  skipped: no run of cnn there")
    except UserError as error:
        print(f"  skipped: {error}")
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    if not agree:
        print("maps do not agree", file=sys.stderr)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
