"""Confusion matrices."""

import numpy as np
from matplotlib.figure import Figure


def confusion_figure(matrix: list[list[int]], classes: list[str]) -> Figure:
    """The confusion matrix, coloured and labelled by the share of each true class, with counts below."""
    counts = np.array(matrix)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(counts.shape):
        axes.text(
            predicted, true, f"{shares[true, predicted]:.0%}\n{counts[true, predicted]}",
            ha="center", va="center", fontsize=7,
            color="white" if shares[true, predicted] > 0.55 else "black",
        )  # fmt: skip
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure
