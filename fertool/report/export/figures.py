"""Figures as files for a paper: column and text width, SVG, PDF with embedded fonts, PNG."""

from collections.abc import Iterator, Mapping
from typing import Any

from fertool.report.drawings import Drawing
from fertool.report.figures.style import SETTINGS, printed, styled

WIDTHS = {"column": 3.5, "text": 7.16}  # inches, as in two-column papers
FORMATS = ("svg", "pdf", "png")
DOTS_PER_INCH = 300
# letters as outlines in SVG, as embedded TrueType fonts in PDF: the figure looks alike everywhere
EMBEDDED: dict[Any, Any] = {"svg.fonttype": "path", "pdf.fonttype": 42, "svg.hashsalt": "fertool"}
FOR_PRINT: dict[Any, Any] = {
    **SETTINGS,
    **EMBEDDED,
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def figure_files(drawings: Mapping[str, Drawing]) -> Iterator[tuple[str, bytes]]:
    """Each figure's files, `NAME-column.pdf` and so on, with their content; the same bytes for the same figure."""
    for name, drawing in drawings.items():
        for width, inches in WIDTHS.items():
            with styled(FOR_PRINT):
                figure = drawing.draw(inches)
                figure.draw_without_rendering()  # lays it out, once for all formats
                figure.set_layout_engine("none")
                for suffix in FORMATS:
                    yield f"{name}-{width}.{suffix}", printed(figure, suffix, DOTS_PER_INCH)
