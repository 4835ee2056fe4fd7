"""Tables of a report as Markdown, intervals behind their figures: python markdown.py TABLE.csv..."""

import csv
import sys
from pathlib import Path


def markdown(table: str) -> str:
    """A table of `report/tables`, as CSV, as Markdown."""
    columns, *rows = csv.reader(table.splitlines())
    limits = {f"{name} {end}" for name in columns for end in ("low", "high")}
    figures = [name for name in columns if name not in limits]
    lines = [figures, ["---"] * len(figures)]
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        lines.append([_cell(cells, name) for name in figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cells: dict[str, str], name: str) -> str:
    low, high = cells.get(f"{name} low"), cells.get(f"{name} high")
    return f"{cells[name]} [{low}, {high}]" if low and high else cells[name]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        print(markdown(Path(path).read_text()), end="\n\n")
