"""The tables of README.md from what measure.sh scored: python table.py WORKSPACE RUN..."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REGIONS = ("background", "face contour", "eyes", "eyebrows", "nose", "mouth")


def line(cells: list[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def with_limits(figures: dict[str, Any], limits: dict[str, Any], scale: float, digits: int) -> list[str]:
    """The cell of each region: figure [interval]."""
    cells = []
    for region in REGIONS:
        low, high = limits[region]
        value, low, high = (f"{scale * number:.{digits}f}" for number in (figures[region], low, high))
        cells.append(f"{value} [{low}, {high}]")
    return cells


def main(workspace: Path, runs: Sequence[str]) -> None:
    """Print lifts on a common grid, then shares, lifts and causal weights with their intervals."""
    shared, own = [], []
    for run in runs:
        scores = workspace / "runs" / run / "scores"
        figures = json.loads((scores / "classification/test.json").read_text())
        low, high = figures["intervals"]["accuracy"]
        accuracy = f"{100 * figures['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        maps = scores / "attention/gradcam/label"
        overall = json.loads((maps / "test.grid7.json").read_text())["overall"]
        shared.append(line([run, accuracy, *with_limits(overall["lift"], overall["lift_interval"], 1, 2)]))
        overall = json.loads((maps / "test.json").read_text())["overall"]
        own.append(line([run, "share, %", *with_limits(overall["share"], overall["share_interval"], 100, 1)]))
        own.append(line([run, "lift", *with_limits(overall["lift"], overall["lift_interval"], 1, 2)]))
        answer = json.loads((scores / "causal/test.json").read_text())["fills"]["mean"]["answer"]
        weights = with_limits(answer["shapley"], answer["shapley_interval"], 100, 1)
        own.append(line([run, "causal weight, %", *weights]))
    for title, columns, rows in (
        ("lifts on a common 7x7 grid", ["network", "accuracy, %"], shared),
        ("shares and lifts on each network's own grid; causal weights", ["network", "figure"], own),
    ):
        header = [*columns, *REGIONS]
        print(title, "", line(header), line(["---"] * len(header)), *rows, "", sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
