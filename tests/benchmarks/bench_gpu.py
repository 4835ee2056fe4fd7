"""Time of training on one GPU: `cnn` from the first import to its last epoch, and the rate of ViT-B/16 at 224 pixels.

    python tests/benchmarks/bench_gpu.py [--rounds 3]

The faces are synthetic, as many as FER2013 has, and weights are random: speed depends on neither. Each training is a
process of its own, as a user starts it; figures are medians over rounds. The targets are for a card like the H200.
`--device cpu --faces 200` tries the bench itself.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from targets import missed

from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv
from fertool.workspace import Workspace

FER2013_FACES = 35_887  # train, val and test
MAX_CNN_S = 20
MIN_VIT_IMAGES_PER_S = 3000
CNN = ["--model", "cnn", "--recipe", "page"]  # 30 epochs
VIT = ["--model", "vit_base_patch16_224", "--weights", "none", "--precision", "bf16", "--batch-size", "256"]


def main() -> None:
    """Time both trainings; the exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="device to train on (default: cuda)")
    parser.add_argument(
        "--faces",
        type=int,
        default=FER2013_FACES,
        help=f"synthetic faces to train on (default: {FER2013_FACES})",
    )
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each kind (default: 3)")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("this machine has no GPU: nothing is measured")
        return
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else arguments.device
    print(f"torch {torch.__version__}, {name}, {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        prepare(workspace, "synthetic", PrepareSettings(count=arguments.faces))
        trainings = [_train(workspace, arguments.device, CNN) for _ in range(arguments.rounds)]
        whole_s = statistics.median(seconds for seconds, _ in trainings)
        any_missed = missed(
            f"cnn, 30 epochs, end to end: {whole_s:.1f} s (at most {MAX_CNN_S})", whole_s <= MAX_CNN_S
        )
        for options in ([], ["--compile"]):
            # the first epoch warms up
            command = [*VIT, "--epochs", "2", *options]
            trainings = [_train(workspace, arguments.device, command) for _ in range(arguments.rounds)]
            rate = statistics.median(rate for _, rate in trainings)
            any_missed |= missed(
                f"{' '.join(['ViT-B/16 at 224', *options])}: {rate:,.0f} images/s (at least {MIN_VIT_IMAGES_PER_S:,})",
                rate >= MIN_VIT_IMAGES_PER_S,
            )
    sys.exit(1 if any_missed else 0)


def _train(workspace: Workspace, device: str, options: list[str]) -> tuple[float, float]:
    """Run one training: seconds of the whole process, and images per second of its last epoch."""
    fixed = ["--workspace", str(workspace.root), "--device", device, "--name", "timed", "--force"]
    started_s = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fertool", "train", *options, *fixed], check=True, capture_output=True
    )
    seconds = time.perf_counter() - started_s
    return seconds, float(read_csv(workspace.run("timed").timing_csv)[-1]["images_per_s"])


if __name__ == "__main__":
    main()
