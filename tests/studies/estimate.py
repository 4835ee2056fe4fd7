"""The cost of what is left of a condition of the study here: a line with runs done and minutes left, measured.

    python tests/studies/estimate.py NAME --seeds 0-2 --faces 200 --few 50 --explainers "gradcam hirescam" \\
        --suites attention,sanity --of-any "occlusion rise" --suites-of-any attention TRAINING-OPTIONS...

Measures on synthetic faces, in the folder `estimate` of the workspace: the images a second of an epoch, the seconds
that each face adds to each kind of score, and those that each call costs. Measurements are kept.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from fertool.cli import app
from fertool.score.suites.representation import MOST_FITTED
from fertool.train.recipes import configure
from fertool.train.seeds import read_seeds
from fertool.workspace import Run, Workspace

FER2013_FACES = {"train": 28_709, "test": 3_589}  # until the workspace has faces of its own
PROBE_FACES, PROBE_TRAINED = 800, 640  # 80 of the others are to score
# faces; the seconds between the two are those of the faces between, without what every call costs
SCORED, SCORED_SLOWLY = (7, 21), (2, 6)


@dataclass(frozen=True)
class Scoring:
    """Explainers and their suites: the first of the network has all, of which the others stand for one another.

    `of_any` are explainers of any network, which are slow; each is measured. Without explainers nothing is scored.
    """

    explainers: list[str]
    suites: str
    of_any: list[str]
    suites_of_any: str


@dataclass(frozen=True)
class Faces:
    """The numbers of faces: of train, of test, those scored by all suites, and those by the other explainers."""

    train: int
    test: int
    suites: int
    few: int


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--seeds", required=True)
    parser.add_argument("--faces", type=int, required=True)
    parser.add_argument("--few", type=int, required=True)
    parser.add_argument("--explainers", required=True, type=str.split)
    parser.add_argument("--suites", required=True)
    parser.add_argument("--of-any", required=True, type=str.split)
    parser.add_argument("--suites-of-any", required=True)
    given, training = parser.parse_known_args()
    workspace = Workspace(os.environ["FERTOOL_WORKSPACE"])
    faces = face_counts(workspace, given.faces, given.few)
    runs = [workspace.run(f"{given.name}-s{seed}") for seed in read_seeds(given.seeds)]
    scoring = Scoring(given.explainers, given.suites, given.of_any, given.suites_of_any)
    to_train = [run for run in runs if not is_trained(run)]
    measured = measure(workspace.root / "estimate", given.name, training, scoring)
    images = faces.train * measured["epochs"] * measured["fraction"]
    train_s = len(to_train) * images / measured["images_per_s"]
    print(
        f"{given.name:29} {len(runs) - len(to_train)} of {len(runs)} trained, {minutes(train_s)}; "
        f"{scores_left(runs, measured, scoring, faces)}   "
        f"fertool train --name {given.name} --seeds {given.seeds} {' '.join(training)}",
        flush=True,
    )


def scores_left(runs: list[Run], measured: dict[str, float], scoring: Scoring, faces: Faces) -> str:
    """The runs that are scored, and the minutes left by the first explainer and by the others."""
    if not scoring.explainers:
        return "not scored"
    by_first = [run for run in runs if not is_scored(run, scoring.explainers[0], "sanity")]
    by_others = [run for run in runs if not is_scored(run, scoring.of_any[-1])]
    others = len(scoring.explainers) - 1
    # Grad-CAM explains all faces beside a first explainer that is another
    of_all_faces = 1 if scoring.explainers[0] == "gradcam" else 2
    run_by_first_s = (
        of_all_faces * faces.test * measured["attention_s"]
        + min(faces.train, MOST_FITTED) * measured["probes_s"]
        + faces.suites * measured["all_s"]
    )
    run_by_others_s = faces.few * (others * measured["maps_s"] + measured["of_any_s"])
    calls_of_first_s = bool(by_first) * (2 + of_all_faces) * measured["call_s"]
    calls_of_others_s = bool(by_others) * (others + len(scoring.of_any)) * measured["call_s"]
    return (
        f"{len(runs) - len(by_others)} scored, "
        f"{minutes(len(by_first) * run_by_first_s + calls_of_first_s)} by the first explainer, "
        f"{minutes(len(by_others) * run_by_others_s + calls_of_others_s)} by the others"
    )


def minutes(seconds: float) -> str:
    """Seconds as `12 min left`."""
    return f"{seconds / 60:3.0f} min left"


def is_scored(run: Run, explainer: str, suite: str | None = None) -> bool:
    """Whether a suite (None: any) has scores of the run by an explainer, for whichever target."""
    return any(
        stored.explainer == explainer and suite in (None, stored.suite)
        for stored in run.stored_scores("test")
    )


def face_counts(workspace: Workspace, suites: int, few: int) -> Faces:
    """The faces of the workspace, FER2013's where it holds none yet; no more of test are scored than there are."""
    splits = workspace.dataset()["splits"] if workspace.dataset_json.exists() else {}
    train, test = (splits.get(split, {}).get("count", count) for split, count in FER2013_FACES.items())
    return Faces(train, test, min(suites, test), min(few, test))


def is_trained(run: Run) -> bool:
    """Whether the run is there and finished."""
    return run.run_json.exists() and run.config()["state"] == "done"


def measure(probe: Path, name: str, training: list[str], scoring: Scoring) -> dict[str, float]:
    """Epochs and part of the faces as they will be, images a second, seconds of scores a face and a call.

    `probe` is the workspace of synthetic faces, `training` the options of `fertool train`.
    """
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    asked = command.make_context("train", [*training]).params
    config = configure(asked["model"], asked["recipe"], asked["augment"], {"epochs": asked["epochs"]})
    # scores of a network cost the same however it was trained
    found = {
        "epochs": config.epochs,
        "fraction": asked["train_fraction"] or 1.0,
        **kept(probe / f"train-{name}.json", lambda: measure_training(probe, name, training)),
    }
    if not scoring.explainers:
        return found
    second = scoring.explainers[1]
    network = re.sub(r"\W+", "-", f"{config.model}-{asked['image_size'] or ''}-{second}").strip("-")
    return found | kept(probe / f"score-{network}.json", lambda: measure_scores(probe, name, scoring))


def kept(record: Path, measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The content of a record; where there is none, it is measured first."""
    if not record.exists():
        figures = measured()
        record.write_text(json.dumps(figures))
    found: dict[str, float] = json.loads(record.read_text())
    return found


def measure_training(probe: Path, name: str, training: list[str]) -> dict[str, float]:
    """Train two epochs; the second is measured."""
    if not Workspace(probe).masks_json.exists():
        fertool(probe, "prepare", "synthetic", "--count", str(PROBE_FACES))
        fertool(probe, "masks")
    # two epochs of all faces, whatever the training asks for: the first one has the start of everything in it
    kept_options = [
        word
        for option, value in zip(training[::2], training[1::2], strict=True)
        if option not in ("--epochs", "--train-fraction")
        for word in (option, value)
    ]
    fertool(probe, "train", "--name", name, *kept_options, "--epochs", "2", "--force")
    *_, last = Workspace(probe).run(name).timing_csv.read_text().split()
    return {"images_per_s": float(last.split(",")[-1])}


def measure_scores(probe: Path, name: str, scoring: Scoring) -> dict[str, float]:
    """Score the run that was trained, by each kind of call."""

    def added_s(explainer: str, suites: str, faces: tuple[int, int] = SCORED) -> tuple[float, float]:
        """The seconds that each face adds, and those of a call without faces."""
        few, more = faces
        few_s, more_s = (score_s(probe, name, explainer, suites, count) for count in faces)
        face_s = max(0.0, more_s - few_s) / (more - few)
        return face_s, max(0.0, few_s - few * face_s)

    first, second, *_ = scoring.explainers
    attention_s, call_s = added_s(first, "classification,attention")
    # probes are fitted on train, however few faces are scored
    probes_s = score_s(probe, name, first, "representation", SCORED[0]) - call_s
    return {
        "attention_s": attention_s,
        "probes_s": max(0.0, probes_s) / PROBE_TRAINED,
        "all_s": added_s(first, "all")[0],
        "maps_s": added_s(second, scoring.suites)[0],
        "of_any_s": sum(
            added_s(explainer, scoring.suites_of_any, SCORED_SLOWLY)[0] for explainer in scoring.of_any
        ),
        "call_s": call_s,
    }


def score_s(probe: Path, name: str, explainer: str, suites: str, faces: int) -> float:
    """The seconds that suites take on so many faces."""
    started_s = time.monotonic()
    fertool(
        probe, "score", "--run", name, "--target", "label", "--explainer", explainer,
        "--suite", suites, "--faces", str(faces), "--force",
    )  # fmt: skip
    return time.monotonic() - started_s


def fertool(probe: Path, *arguments: str) -> None:
    """Run a subcommand in the probe's workspace, quietly; its line is the error."""
    command = [sys.executable, "-m", "fertool", *arguments, "--workspace", str(probe)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip())


if __name__ == "__main__":
    main()
