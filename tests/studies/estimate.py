"""What a condition of the study still costs on this machine: a line with runs done and hours left, measured.

    python tests/studies/estimate.py NAME --seeds 0-2 --faces 1000 --explainers "gradcam hirescam" TRAINING-OPTIONS...

Measures on synthetic faces, in the folder `estimate` of the workspace: the images a second of one epoch, and the
seconds a face of all suites by the first explainer and of the suites of heatmaps by the second. What was measured is
kept.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import typer

from fertool.cli import app
from fertool.train.recipes import configure

TRAIN_FACES, TEST_FACES = 28_709, 3_589  # of FER2013
PROBE_FACES = 800  # 640 of them to train on
SCORED = (16, 48)  # faces; the seconds between the two are those of 32 faces, without what every call costs
OF_MAPS = "attention,faithfulness,causal-agreement,sanity,robustness-attention"


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--seeds", required=True)
    parser.add_argument("--faces", type=int, required=True)
    parser.add_argument("--explainers", required=True)
    given, training = parser.parse_known_args()
    first, _, last = given.seeds.partition("-")
    names = [f"{given.name}-s{seed}" for seed in range(int(first), int(last or first) + 1)]
    workspace = Path(os.environ["FERTOOL_WORKSPACE"])
    left = [name for name in names if state(workspace / "runs" / name) != "done"]
    measured = measure(workspace / "estimate", given.name, training, given.explainers.split())
    images = TRAIN_FACES * measured["epochs"] * measured["fraction"]
    train_h = len(left) * images / measured["images_per_s"] / 3600
    faces = min(given.faces, TEST_FACES)
    others = len(given.explainers.split()) - 1
    score_h = len(names) * faces * (measured["all_s"] + others * measured["maps_s"]) / 3600
    print(
        f"{given.name:26} {len(names) - len(left)} of {len(names)} trained, {train_h:5.1f} h of training left; scores "
        f"{score_h:5.1f} h   fertool train --name {given.name} --seeds {given.seeds} {' '.join(training)}",
        flush=True,
    )


def state(run: Path) -> str:
    """The state of a run, empty where there is none."""
    record = run / "run.json"
    return json.loads(record.read_text()).get("state", "") if record.exists() else ""


def measure(probe: Path, name: str, training: list[str], explainers: list[str]) -> dict[str, float]:
    """Epochs and part of the faces as they will be, images a second, seconds a face of the suites."""
    kept = probe / f"{name}.json"
    if kept.exists():
        measured: dict[str, float] = json.loads(kept.read_text())
        return measured
    if not (probe / "masks/masks.json").exists():
        fertool(probe, "prepare", "synthetic", "--count", str(PROBE_FACES))
        fertool(probe, "masks")
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    asked = command.make_context("train", [*training]).params
    config = configure(asked["model"], asked["recipe"], asked["augment"], {"epochs": asked["epochs"]})
    fertool(probe, "train", "--name", name, *training, "--epochs", "1", "--train-fraction", "1", "--force")
    *_, last = (probe / "runs" / name / "timing.csv").read_text().split()
    measured = {
        "epochs": config.epochs,
        "fraction": asked["train_fraction"] or 1.0,
        "images_per_s": float(last.split(",")[-1]),
        "all_s": seconds_a_face(probe, name, explainers[0], "all"),
        "maps_s": seconds_a_face(probe, name, explainers[1], OF_MAPS),
    }
    kept.write_text(json.dumps(measured))
    return measured


def seconds_a_face(probe: Path, name: str, explainer: str, suites: str) -> float:
    """The seconds that suites take for each further face."""
    took_s = []
    for faces in SCORED:
        started_s = time.monotonic()
        fertool(
            probe, "score", "--run", name, "--target", "label", "--explainer", explainer,
            "--suite", suites, "--faces", str(faces), "--force",
        )  # fmt: skip
        took_s.append(time.monotonic() - started_s)
    return max(0.0, took_s[1] - took_s[0]) / (SCORED[1] - SCORED[0])


def fertool(probe: Path, *arguments: str) -> None:
    """Run a subcommand in the probe's workspace, quietly; its line is the error."""
    command = [sys.executable, "-m", "fertool", *arguments, "--workspace", str(probe)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip())


if __name__ == "__main__":
    main()
