"""Representation over depth: linear probes before and after training, and how far each stage changed (CKA)."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from fertool.report.figures.style import NAME_INCHES, NAMES_ACROSS, PAGE_INCHES, name_above, plain, style_of


def depth_figure(
    stages: Mapping[str, Sequence[Mapping[str, Any]]], width_inches: float = PAGE_INCHES
) -> Figure:
    """Probe accuracy (dashed: before training) and CKA with before, over the stages from input (0) to head (1).

    `stages` are those of a run in the suite representation, by the run's name.
    """
    across = max(1, int(width_inches * NAMES_ACROSS / PAGE_INCHES))
    stacked = width_inches < PAGE_INCHES / 2
    height = NAME_INCHES * -(-len(stages) // across) + (4.6 if stacked else 0.33 * width_inches)
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    probes, cka = figure.subplots(*((2, 1) if stacked else (1, 2)))
    for number, (name, run_stages) in enumerate(stages.items()):
        style = {**style_of(number), "markersize": 3}
        depth = [(place + 1) / len(run_stages) for place in range(len(run_stages))]
        after, before = (
            [100 * stage[when]["accuracy"] for stage in run_stages] for when in ("after", "before")
        )
        probes.plot(depth, after, label=name, **style)
        probes.plot(depth, before, "--", linewidth=1, **style)
        known = [
            (at, stage["cka"])
            for at, stage in zip(depth, run_stages, strict=True)
            if stage["cka"] is not None
        ]
        cka.plot([at for at, _ in known], [value for _, value in known], **style)
    probes.set_ylabel("probe accuracy, %")
    cka.set_ylabel("CKA with before training")
    for axes in (probes, cka):
        axes.set_xlabel("depth")
        plain(axes)
    name_above(figure, probes, across)
    return figure
