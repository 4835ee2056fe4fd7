"""Cost of attention guidance: the time of a guided epoch, divided by that of the same epoch without guidance.

    python tests/benchmarks/bench_guide.py [--model cnn-gap cnn vit vit-patches] [--rounds 5]

Guided and unguided epochs take turns on the same synthetic faces in the same number format; figures are medians. An
epoch covers training and val, where the guided training also measures its maps. Weights are random, since speed does
not depend on them.
"""

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from targets import missed

from fertool.masks import make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace


@dataclass(frozen=True)
class Scene:
    """A guided training, the number of synthetic faces that time it, and its permitted cost."""

    config: TrainConfig
    faces: int
    max_ratio: float | None  # None: measured without a target


VIT = TrainConfig(model="vit_tiny_patch16_224", image_size=96, weights="none")
SCENES = {
    # logits are linear in the CAM layer's mean: Grad-CAM in closed form
    "cnn-gap": Scene(TrainConfig(model="cnn-gap"), 5000, 1.15),
    # differentiated twice behind the CAM layer
    "cnn": Scene(TrainConfig(model="cnn"), 5000, 1.4),
    # attention rollout
    "vit": Scene(VIT, 800, 1.5),
    # differentiated twice through all blocks
    "vit-patches": Scene(replace(VIT, guide_explainer="gradcam", cam_layer="norm_pre"), 800, None),
}


def main() -> None:
    """Time the chosen scenes; the exit code is 1 where guidance costs more than permitted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", nargs="+", default=list(SCENES), choices=list(SCENES), help="networks (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each kind (default: 5)")
    arguments = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    any_missed = False
    for name in arguments.model:
        scene = SCENES[name]
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder) / "ws")
            prepare(workspace, "synthetic", PrepareSettings(count=scene.faces))
            make_masks(workspace)
            any_missed |= _compare(name, scene, workspace, arguments.rounds)
    sys.exit(1 if any_missed else 0)


def _compare(name: str, scene: Scene, workspace: Workspace, rounds: int) -> bool:
    any_missed = False
    for precision in ("fp32", "bf16"):
        guided = replace(scene.config, epochs=2, precision=precision, guide="background")
        unguided = replace(guided, guide=None, guide_explainer=None)
        epoch_s: dict[str, list[float]] = {"unguided": [], "guided": []}
        for _ in range(rounds):
            for kind, config in (("unguided", unguided), ("guided", guided)):
                train(workspace, config, name=kind, force=True, device="cpu")
                epoch_s[kind].append(float(read_csv(workspace.run(kind).timing_csv)[-1]["epoch_s"]))
        unguided_s, guided_s = (statistics.median(rounds_s) for rounds_s in epoch_s.values())
        ratio = guided_s / unguided_s
        measured = f"{name} {precision}: {ratio:.2f} times the epoch without guidance ({unguided_s:.1f} s"
        if scene.max_ratio is None:
            print(f"         {measured})", flush=True)
        else:
            any_missed |= missed(f"{measured}; at most {scene.max_ratio})", ratio <= scene.max_ratio)
    return any_missed


if __name__ == "__main__":
    main()
