"""The tables of README.md from what measure.sh scored: python table.py FOLDER."""

import json
import sys
from pathlib import Path
from typing import Any

REGIONS = ("background", "face contour", "eyes", "eyebrows", "nose", "mouth")
RUNS = ("fer", "face-api")


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def with_limits(figures: dict[str, Any], limits: dict[str, Any], scale: float, digits: int) -> list[str]:
    cells = []
    for region in REGIONS:
        low, high = limits[region]
        value, low, high = (f"{scale * number:.{digits}f}" for number in (figures[region], low, high))
        cells.append(f"{value} [{low}, {high}]")
    return cells


def main(folder: Path) -> None:
    shared, own = [], []
    for run in RUNS:
        scores = folder / "whole" / "runs" / run / "scores"
        accuracy = json.loads((scores / "classification/test.json").read_text())["accuracy"]
        maps = scores / "attention/gradcam/label"
        lifts = json.loads((maps / "test.grid7.json").read_text())["overall"]["lift"]
        shared.append(line([run, f"{100 * accuracy:.1f}", *(f"{lifts[region]:.2f}" for region in REGIONS)]))
        overall = json.loads((maps / "test.json").read_text())["overall"]
        own.append(line([run, "share, %", *with_limits(overall["share"], overall["share_interval"], 100, 1)]))
        own.append(line([run, "lift", *with_limits(overall["lift"], overall["lift_interval"], 1, 2)]))
        causes = folder / "sample" / "runs" / run / "scores/causal/test.json"
        answer = json.loads(causes.read_text())["fills"]["mean"]["answer"]
        own.append(
            line([run, "cause, %", *with_limits(answer["shapley"], answer["shapley_interval"], 100, 1)])
        )
    for title, columns, rows in (
        ("lifts on a common 7x7 grid", ["network", "accuracy, %"], shared),
        ("each network's own grid; causes on the sample", ["network", "figure"], own),
    ):
        header = [*columns, *REGIONS]
        print(title, "", line(header), line(["---"] * len(header)), *rows, "", sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
