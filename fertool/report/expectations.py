"""The expectations of the description that fertool grew from, beside what was measured."""

from collections.abc import Callable

from fertool.report.conditions import FACE_RECOGNITION, FROM_SCRATCH, IMAGENET, Condition
from fertool.report.evidence import Evidence
from fertool.report.first_screen import Row
from fertool.summary import Table

# its accuracies, and the rows of its example table (illustrations, not results): mouth, eyes, background in %
EXPECTED: dict[str, tuple[str, tuple[int, int, int]]] = {
    "CNN from scratch": ("60 to 65%", (28, 19, 41)),
    "ImageNet CNN": ("about 70%", (35, 27, 25)),
    "face recognition": ("-", (12, 40, 26)),
    "vision transformer": ("-", (30, 30, 15)),
}
SHOWN = ("mouth", "eyes", "background")
KINDS: dict[str, Callable[[Condition], bool]] = {
    "CNN from scratch": lambda condition: (
        condition.model == "cnn" and condition.pretraining == FROM_SCRATCH and condition.guidance == "none"
    ),
    "ImageNet CNN": lambda condition: condition.family == "cnn" and condition.pretraining == IMAGENET,
    "face recognition": lambda condition: condition.pretraining == FACE_RECOGNITION,
    "vision transformer": lambda condition: condition.family == "transformer",
}


def expectations_table(evidence: Evidence, rows: list[Row]) -> Table:
    """The expectations, and below each the most accurate condition of its kind."""
    cells = []
    ranked = [condition.name for condition in evidence.most_accurate(evidence.conditions)]
    first = {row.condition.name: row for row in rows if row.first or row.view is None}
    for kind, (accuracy, shares) in EXPECTED.items():
        cells.append([f"{kind}: expected", accuracy, *(f"{share}" for share in shares)])
        fitting = [name for name in ranked if KINDS[kind](first[name].condition)]
        if not fitting:
            cells.append(["  not among these runs", *4 * ["-"]])
            continue
        row = first[fitting[0]]
        accuracy_cell = row.cells["accuracy"]
        figures = [row.regions["share"][region] for region in SHOWN]
        cells.append(
            [
                f"  {row.condition.name}",
                *(
                    f"{cell.text('value')} [{cell.text('low')}, {cell.text('high')}]"
                    if cell.has_interval
                    else "-"
                    for cell in (accuracy_cell, *figures)
                ),
            ]
        )
    return Table(
        f"expectations of the description that fertool grew from, beside {evidence.split}",
        ["model", "accuracy, %", *(f"share of {region}, %" for region in SHOWN)],
        cells,
        [
            "The expected shares are an example's, which nobody measured. The expected accuracies are those of all "
            "28,709 training faces of FER2013."
        ],
    )
