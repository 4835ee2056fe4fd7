"""Time and memory of explainers, compared with other packages and with the forward pass alone.

    python tests/benchmarks/bench_explain.py [--quick] [--workspace data] [--run NAME]

All contenders share network, batch, threads and process. Each round times every contender once; figures are medians
over rounds. Peak memory is measured in a process of its own, above what the process holds before. The exit code is 1
where maps disagree. Weights are random, since speed does not depend on them. If the workspace holds a finished run
of `cnn`, its whole test split is explained as `fertool explain` does it. On a busy machine `--clock cpu` with
OMP_NUM_THREADS=1 is more reliable than wall time.
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

Contender = Callable[[], Tensor | None]  # computes one batch: maps (B, h, w), or None for a forward pass

MAP_TOLERANCE = 1e-4  # relative to the largest cell
SHARE_TOLERANCE_POINTS = 0.2  # change of a region's mean share in bfloat16


@dataclass(frozen=True)
class Scene:
    """The contenders on one network and batch, and their targets."""

    title: str
    batch: int
    model: FaceClassifier
    region_maps: np.ndarray  # uint8 (B, H, W)
    contenders: dict[str, Contender]
    targets: list[tuple[str, str, float]]  # a, b, minimum speed of a as a multiple of b's
    same_maps: list[tuple[str, str]]
    bfloat16_pairs: list[tuple[str, str]]  # a in bfloat16, b in float32


def bfloat16() -> contextlib.AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def forward(
    network: torch.nn.Module, inputs: Tensor, precision: Callable = contextlib.nullcontext
) -> Contender:
    def run() -> None:
        with torch.inference_mode(), precision():
            network(inputs)

    return run


def explain_with_fertool(
    explainer: Callable, model: FaceClassifier, faces: Tensor, precision: Callable = contextlib.nullcontext
) -> Contender:
    """Explain the stored faces, preprocessing included, for the class predicted in float32."""
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
    fast = build_model("resnet50", 7).eval()  # channels_last
    model = copy.deepcopy(fast).to(memory_format=torch.contiguous_format)  # as other packages receive it
    layer, inputs = model.layer(model.cam_layer), model.preprocess(faces).contiguous()
    channels_last = inputs.contiguous(memory_format=torch.channels_last)

    def pytorch_grad_cam() -> Tensor:
        with GradCAM(model.network, [layer]) as cam:
            # for the predicted class, at 224 pixels, scaled to 0..1
            return torch.from_numpy(cam(inputs, None))

    def captum() -> Tensor:
        with torch.no_grad():
            predicted = model.network(inputs).argmax(dim=1)
        return LayerGradCam(model.network, layer).attribute(inputs, target=predicted)[:, 0].detach()

    def as_pytorch_grad_cam() -> Tensor:
        maps = explain_with_fertool(gradcam, fast, faces)().clamp(min=0).numpy()
        for _ in range(2):  # pytorch-grad-cam scales the map of each layer, then the mean over layers
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
            "gradcam": explain_with_fertool(gradcam, fast, faces),
            "gradcam, bf16": explain_with_fertool(gradcam, fast, faces, bfloat16),
            "guided-gradcam": explain_with_fertool(guided_gradcam, fast, faces),
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
        """The common implementation of rollout: hooks, then T x T products through all blocks."""

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
            "rollout": explain_with_fertool(rollout, model, faces),
            "usual rollout": usual_rollout(),
            "forward, fused, bf16": forward(model.network, inputs, bfloat16),
            "rollout, bf16": explain_with_fertool(rollout, model, faces, bfloat16),
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
    """Median seconds per batch of each contender; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in scene.contenders if name not in UNTIMED}
    for number in range(rounds + 1):
        for name, rounds_s in seconds.items():
            start = clock()
            scene.contenders[name]()
            if number > 0:
                rounds_s.append(clock() - start)
    return {name: statistics.median(rounds_s) for name, rounds_s in seconds.items()}


def maps_agree(scene: Scene) -> bool:
    agree = True
    for name, other in scene.same_maps:
        maps, reference = scene.contenders[name](), scene.contenders[other]()
        difference = float((maps - reference).abs().max() / reference.abs().max())
        agree &= difference <= MAP_TOLERANCE
        print(
            f"  {name} and {other}: maps differ by {difference:.1e} of the largest cell (at most {MAP_TOLERANCE:.0e})"
        )
    for name, other in scene.bfloat16_pairs:
        shares = []
        for maps in (scene.contenders[name](), scene.contenders[other]()):
            weights = region_weights(scene.region_maps, tuple(maps.shape[1:]))
            shares.append(np.nanmean(region_shares(maps.clamp(min=0).numpy(), weights), axis=0))
        moved = 100 * float(np.abs(shares[0] - shares[1]).max())
        agree &= moved <= SHARE_TOLERANCE_POINTS
        print(
            f"  {name}: the mean share of a region changes by {moved:.2f} points (at most {SHARE_TOLERANCE_POINTS})"
        )
    return agree


def peak_memory_mb(scene_name: str, contender: str, batch: int) -> float:
    command = [sys.executable, __file__, "--peak-memory", scene_name, contender, "--batch", str(batch)]
    trimming = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed memory returns to the system
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=trimming)
    return float(done.stdout)


def print_peak_memory(scene_name: str, contender: str, batch: int) -> None:
    run = SCENES[scene_name][0](batch).contenders[contender]
    before = resident_mb("VmRSS")
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak since the process started
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
    build_scene, batch = SCENES[scene_name]
    batch = 4 if quick else batch
    scene = build_scene(batch)
    print(f"\n{scene.title}, batch {batch}")
    agree = maps_agree(scene)
    seconds = medians(scene, 2 if quick else 7, CLOCKS[clock])
    print(f"  {'':30s}{'images/s':>10s}{'ms/batch':>10s}{'peak MB':>10s}")
    for name, batch_s in seconds.items():
        memory = "" if quick else f"{peak_memory_mb(scene_name, name, batch):10.0f}"
        print(f"  {name:30s}{batch / batch_s:10.1f}{1000 * batch_s:10.0f}{memory}")
    for name, other, min_speed in scene.targets:
        speed = seconds[other] / seconds[name]
        target, measured = (
            (f"at least {min_speed:g} times the speed of", f"{speed:.2f}")
            if min_speed >= 1
            else (f"at most {1 / min_speed:.2f} times the time of", f"{1 / speed:.2f}")
        )
        missed(f"{name}: {target} {other}: {measured}", speed >= min_speed)
    return agree


def bench_split(workspace: Workspace, run_name: str | None, precision: str) -> None:
    """Explain the whole test split as `fertool explain` does it, in a copy of the workspace."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Workspace(Path(folder))
        run = workspace.run(run_name)
        shutil.copy(workspace.root / "dataset.json", copied.root)
        (copied.root / "faces").symlink_to((workspace.root / "faces").resolve())
        copied_run = copied.root / "runs" / run.name
        copied_run.mkdir(parents=True)
        for file in (run.run_json, run.best):
            shutil.copy(file, copied_run)
        start = time.perf_counter()
        explain(copied, ExplainSettings(["gradcam"], runs=[run.name], device="cpu", precision=precision))
        seconds = time.perf_counter() - start
        faces = len(workspace.load_faces("test"))
    missed(
        f"{run.name}, {faces:,} faces of test, {precision}: {seconds:.1f} s (at most 5 s for FER2013's 3,589), "
        f"{faces / seconds:,.0f} images/s",
        seconds <= 5,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="use small batches and few rounds, skip the memory"
    )
    parser.add_argument(
        "--workspace", type=Path, default=Path("data"), help="workspace of the whole split (default: data)"
    )
    parser.add_argument("--run", help="finished run in that workspace (default: the first cnn)")
    parser.add_argument(
        "--scene", choices=SCENES, nargs="*", default=list(SCENES), help="networks (default: both)"
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="time to report (default: wall)")
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
            print("  skipped: the workspace has no run of cnn")
    except UserError as error:
        print(f"  skipped: {error}")
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    if not agree:
        print("maps disagree", file=sys.stderr)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
