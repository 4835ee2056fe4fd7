"""Confusion matrices."""

import numpy as np
from matplotlib.figure import Figure

from fertool.runtime.drawn_text import drawable


def confusion_figure(matrix: list[list[int]], classes: list[str], width_inches: float = 5.2) -> Figure:
    """The confusion matrix, coloured and labelled by the share of each true class, with counts below."""
    counts = np.array(matrix)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(width_inches, 0.85 * width_inches), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(counts.shape):
        axes.text(
            predicted, true, f"{shares[true, predicted]:.0%}\n{counts[true, predicted]}",
            ha="center", va="center", fontsize=min(7, 1.35 * width_inches),
            color="white" if shares[true, predicted] > 0.55 else "black",
        )  # fmt: skip
    names = [drawable(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure
