"""The tables and notes that `masks` prints."""

from typing import Any

from fertool.masks.detectors.small_faces import DETECTORS, TEMPLATE
from fertool.summary import Table

SHOWN = {"drawn": "synthetic (exact)"}  # a detector's name in tables, where it is not that of its code
NAMED_ROWS = 5


def masks_tables(data: dict[str, Any]) -> list[Table]:
    """The number of faces that each detector found, and the classes of the faces that none found, of a masks.json."""
    found, by_class = data["found"], data["found_by_class"]
    total = {name: sum(counts[name] for counts in found.values()) for name in DETECTORS}
    columns = {**found, "all": total}

    def share(part: int, whole: int) -> str:
        return f"{part:,} ({part / whole:.1%})" if whole else "0"

    tables = [
        Table(
            "Detectors that found the faces' landmarks",
            ["detector", *columns],
            [
                [
                    SHOWN.get(name, name),
                    *(share(counts[name], sum(counts.values())) for counts in columns.values()),
                ]
                for name in ("drawn", "mediapipe", "dlib", "template")
                if total[name]
            ],
        )
    ]
    missed = DETECTORS[TEMPLATE]
    if total[missed] and total[missed] < sum(total.values()):
        rows = []
        for name in next(iter(by_class.values())):
            counts = [split[name] for split in by_class.values()]
            rows.append((name, sum(c[missed] for c in counts), sum(sum(c.values()) for c in counts)))
        tables.append(
            Table(
                "Faces that no detector found, by class",
                ["class", "not found", "faces"],
                [[name, share(part, whole), f"{whole:,}"] for name, part, whole in rows],
                ["mostly profiles and covered faces; they have the mean face's regions"],
            )
        )
    return tables


def lying_notes(lying: dict[str, list[int]]) -> list[str]:
    """A sentence on the faces of each split, by their rows, that lie on a side or stand on their head."""
    return [
        f"{len(rows):,} faces of '{split}' lie on a side or stand on their head (row "
        f"{', '.join(map(str, rows[:NAMED_ROWS]))}{', ...' if len(rows) > NAMED_ROWS else ''} of faces/{split}.csv, "
        "which names their pictures): a network meets them as they are; turn them and prepare again"
        for split, rows in lying.items()
        if rows
    ]


def agreement_notes(agreement: dict[str, Any] | None) -> list[str]:
    """A sentence on the disagreement of two detectors, where it was measured."""
    if agreement is None or agreement["median_distance_iod"] is None:
        return []
    parts = ", ".join(f"{part} {distance:.3f}" for part, distance in agreement["by_part_iod"].items())
    return [
        f"MediaPipe's and dlib's landmarks lie {agreement['median_distance_iod']:.3f} inter-ocular distances "
        f"apart (median over the {agreement['faces']:,} faces that both found of {agreement['sampled']:,} "
        f"found by MediaPipe; {parts})"
    ]
