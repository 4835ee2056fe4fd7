"""Figures as files for a paper: column and text width, SVG, PDF with embedded fonts, PNG."""

from collections.abc import Iterator, Mapping
from typing import Any

from fertool.report.drawings import Drawing
from fertool.report.figures.style import SETTINGS, lay_out, printed, styled
from fertool.runtime.worker_pool import WorkerPool

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


def figure_files(name: str, drawing: Drawing) -> dict[str, bytes]:
    """A figure's files, `NAME-column.pdf` and so on, with their content; the same bytes for the same figure."""
    files = {}
    for width, inches in WIDTHS.items():
        with styled(FOR_PRINT):
            figure = drawing.draw(inches)
            lay_out(figure)  # once for all formats
            for suffix in FORMATS:
                files[f"{name}-{width}.{suffix}"] = printed(figure, suffix, DOTS_PER_INCH)
    return files


def figures_begun(drawings: Mapping[str, Drawing], pool: WorkerPool | None) -> Iterator[dict[str, bytes]]:
    """The files of each figure; a pool begins with them now, without one each is drawn when it is asked for."""
    names_and_drawings = list(drawings.items())
    return pool.begun(_files_of, names_and_drawings) if pool else map(_files_of, names_and_drawings)


def _files_of(name_and_drawing: tuple[str, Drawing]) -> dict[str, bytes]:
    return figure_files(*name_and_drawing)
