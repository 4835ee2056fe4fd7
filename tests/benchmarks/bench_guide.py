"""What attention guidance costs: the time of an epoch with it over that of the same training without.

    python tests/benchmarks/bench_guide.py [--model cnn-gap cnn vit vit-patches] [--rounds 5]

Guided and unguided epochs take turns, on the same synthetic faces in the same format; medians. An epoch is training
and val, on which the guided one measures its maps. Weights are random: speed does not depend on them.
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
    """A guided training, how many synthetic faces time it, and what it may cost."""

    config: TrainConfig
    faces: int
    most_ratio: float | None  # None: it costs what it costs


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
    """Time every scene asked for; exit 1 where guidance costs more than it may."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--rounds", type=int, default=5)
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
            for kind, of_kind in (("unguided", unguided), ("guided", guided)):
                train(workspace, of_kind, name=kind, force=True, device="cpu")
                epoch_s[kind].append(float(read_csv(workspace.run(kind).timing_csv)[-1]["epoch_s"]))
        unguided_s, guided_s = (statistics.median(of_kind) for of_kind in epoch_s.values())
        ratio = guided_s / unguided_s
        measured = f"{name} {precision}: {ratio:.2f} times the epoch without ({unguided_s:.1f} s"
        if scene.most_ratio is None:
            print(f"         {measured})", flush=True)
        else:
            any_missed |= missed(f"{measured}; at most {scene.most_ratio})", ratio <= scene.most_ratio)
    return any_missed


if __name__ == "__main__":
    main()
