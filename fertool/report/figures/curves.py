"""Training: loss and accuracy over epochs."""

from matplotlib.figure import Figure

from fertool.report.figures.style import NAME_INCHES, NAMES_ACROSS, PAGE_INCHES, name_above, plain, style_of


def curves_figure(histories: dict[str, list[dict[str, str]]], width_inches: float = PAGE_INCHES) -> Figure:
    """Loss and accuracy over epochs, a colour and marker a run; train dashed, val solid, the chosen epoch marked."""
    across = max(1, int(width_inches * NAMES_ACROSS / PAGE_INCHES))
    rows_of_names = -(-len(histories) // across)
    stacked = width_inches < PAGE_INCHES / 2
    height = NAME_INCHES * rows_of_names + (5.0 if stacked else 0.35 * width_inches)
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    panels = figure.subplots(*((2, 1) if stacked else (1, 2)))
    for axes, measure, scale in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        for number, (name, rows) in enumerate(histories.items()):
            style = style_of(number)
            epochs = [int(row["epoch"]) for row in rows]
            val = [scale * float(row[f"val_{measure}"]) for row in rows]
            train = [scale * float(row[f"train_{measure}"]) for row in rows]
            axes.plot(epochs, train, "--", color=style["color"], linewidth=1)
            chosen = max(index for index, row in enumerate(rows) if row["best"] == "1")
            axes.plot(epochs, val, label=name, markevery=[chosen], **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(measure if scale == 1 else f"{measure}, %")
        plain(axes)
    name_above(figure, panels[0], across)
    return figure
