"""Speed of training, compared with the usual PyTorch loop: ImageFolder, PIL transforms, DataLoader, float32.

    python tests/benchmarks/bench_train.py [--model cnn resnet50 vit ...] [--rounds 3]

All contenders share network, faces, batch size, augmentation and optimizer. Each is a process of its own; they take
turns, and figures are medians over rounds. Rates are train images per second in the second epoch; the first warms up.
Weights are random, since speed does not depend on them.
`alone` is forward, backward and step on one batch in memory, in fertool's number format: the rate that its loop could
reach if data cost nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from targets import missed

from fertool.models import build_model
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv
from fertool.runtime.hardware import Compute, keep_freed_memory
from fertool.train import train
from fertool.train.augment import PRESETS, augment, draw_epoch
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

CONTENDERS = ("plain loop", "fertool", "alone")


@dataclass(frozen=True)
class Scene:
    """The number of train faces that time a network, its batch size, and its target."""

    faces: int
    batch: int
    min_ratio: float  # speed of fertool over that of the plain loop


SCENES = {
    "cnn": Scene(faces=4000, batch=64, min_ratio=3.5),
    "resnet50": Scene(faces=96, batch=32, min_ratio=3.0),
    "vit": Scene(faces=48, batch=16, min_ratio=3.0),
    "mobilenetv2_100": Scene(faces=256, batch=32, min_ratio=1.0),
}
MIN_AUGMENTED_IMAGES_PER_S = 20_000
MIN_SHARE_COMPUTING = 0.9


def main() -> None:
    """Time all contenders on the chosen networks; the exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        nargs="+",
        default=["cnn", "resnet50", "vit"],
        choices=list(SCENES),
        help="networks (default: cnn resnet50 vit)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each contender (default: 3)")
    parser.add_argument("--one", nargs=3, metavar=("CONTENDER", "MODEL", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        contender, model, folder = arguments.one
        print(json.dumps(_measure(contender, model, Path(folder))))
        return
    load = os.getloadavg()[0]
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, load {load:.1f}"
    )
    any_missed = _augmentation_alone()
    for model in arguments.model:
        any_missed |= _compare(model, arguments.rounds)
    sys.exit(1 if any_missed else 0)


def _compare(model: str, rounds: int) -> bool:
    scene = SCENES[model]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "ws")
        prepare(workspace, "synthetic", PrepareSettings(count=round(scene.faces * 1.26)))
        _write_pictures(workspace, Path(folder) / "train", scene.faces)
        results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name, measured in results.items():
                command = [sys.executable, __file__, "--one", name, model, folder]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                measured.append(json.loads(output.splitlines()[-1]))
    print(f"\n{model}, batch {scene.batch}, {rounds} rounds\n{'':16}{'images/s':>10}  format")
    rates = {}
    for name, measured in results.items():
        rates[name] = statistics.median(measurement["images_per_s"] for measurement in measured)
        print(f"  {name:14}{rates[name]:10.1f}  {measured[-1]['precision']}")
    ratio, share = rates["fertool"] / rates["plain loop"], rates["fertool"] / rates["alone"]
    too_slow = missed(
        f"{ratio:.2f} times the plain loop (at least {scene.min_ratio})", ratio >= scene.min_ratio
    )
    return too_slow | missed(
        f"{share:.0%} of the time computing (at least {MIN_SHARE_COMPUTING:.0%})",
        share >= MIN_SHARE_COMPUTING,
    )


def _augmentation_alone() -> bool:
    faces = torch.randint(0, 256, (8192, 48, 48), dtype=torch.uint8)
    any_missed = False
    for name in ("light", "strong"):
        rates = []
        for epoch in range(1, 6):
            started_s = time.perf_counter()
            order, draws = draw_epoch(len(faces), 48, 0, epoch, PRESETS[name])
            for rows in order.split(64):
                augment(faces[rows], draws[rows], PRESETS[name])
            rates.append(len(faces) / (time.perf_counter() - started_s))
        rate = statistics.median(rates[1:])
        any_missed |= missed(
            f"augmentation '{name}' alone: {rate:,.0f} images/s (at least {MIN_AUGMENTED_IMAGES_PER_S:,})",
            rate >= MIN_AUGMENTED_IMAGES_PER_S,
        )
    return any_missed


# --- one contender, in a process of its own -----------------------------------------------------------------


def _measure(contender: str, model: str, folder: Path) -> dict[str, float | str]:
    workspace = Workspace(folder / "ws")
    if contender == "plain loop":
        rate, precision = _plain_loop(model, folder / "train"), "fp32"
    elif contender == "fertool":
        rate, precision = _fertool(model, workspace)
    else:
        rate, precision = _alone(model, workspace)
    return {"images_per_s": rate, "precision": precision}


def _config(model: str, **settings: object) -> TrainConfig:
    return TrainConfig(model=model, weights="none", epochs=2, batch_size=SCENES[model].batch, **settings)


def _fertool(model: str, workspace: Workspace) -> tuple[float, str]:
    run = workspace.run(model)
    train(workspace, _config(model), name=model, force=True, device="cpu")
    return float(read_csv(run.timing_csv)[-1]["images_per_s"]), run.config()["hardware"]["precision"]


def _alone(model: str, workspace: Workspace) -> tuple[float, str]:
    scene, precision = SCENES[model], workspace.run(model).config()["hardware"]["precision"]
    compute = Compute(torch.device("cpu"), precision)
    keep_freed_memory()  # like a training
    classifier = build_model(model, 7).train()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-4, weight_decay=1e-4, fused=True)
    pixels = torch.from_numpy(np.array(workspace.load_faces("train")[: scene.batch]))
    labels = torch.from_numpy(workspace.load_labels("train")[: scene.batch])
    steps = max(3, scene.faces // scene.batch)
    for step in range(steps + 1):
        if step == 1:  # step 0 warms up
            started_s = time.perf_counter()
        with compute.autocast():
            logits = classifier(pixels)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
        optimizer.step()
    return steps * len(pixels) / (time.perf_counter() - started_s), precision


def _plain_loop(model: str, folder: Path) -> float:
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    classifier = build_model(model, 7)
    spec = classifier.input_spec
    network = classifier.network.to(memory_format=torch.contiguous_format).train()
    transform = transforms.Compose(
        [
            transforms.Grayscale(spec.channels),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(0, translate=(0.05, 0.05)),
            transforms.Resize(spec.size),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )
    loader = DataLoader(ImageFolder(folder, transform), SCENES[model].batch, shuffle=True, num_workers=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(2):
        images, started_s = 0, time.perf_counter()
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(network(inputs), labels)
            loss.backward()
            optimizer.step()
            images += len(labels)
    return images / (time.perf_counter() - started_s)


def _write_pictures(workspace: Workspace, folder: Path, count: int) -> None:
    import cv2

    faces, labels = workspace.load_faces("train")[:count], workspace.load_labels("train")[:count]
    for number, (face, label) in enumerate(zip(faces, labels, strict=True)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), face)


if __name__ == "__main__":
    main()
