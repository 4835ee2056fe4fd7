"""The style that the figures share: colours, legends, and how they get into the page.

Colours are Okabe and Ito's palette, told apart by colour-blind readers and in print. In the page's SVGs they become
CSS variables, so that axes and words do not vanish on a dark page.
"""

import contextlib
import io
import re
import textwrap
from collections.abc import Generator, Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from fertool.runtime.drawn_text import drawable, plain_text

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000001")
MARKERS = "os^DvX"  # one fewer than colours: a series in grey print is told by its marker, and no two by both
INK, SOFT, LINE = "#1b1c20", "#5d5f68", "#b3b3b8"
LEVEL: dict[str, Any] = {"color": LINE, "linewidth": 0.8, "zorder": 0}  # a line to measure others by
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
}

PAGE_INCHES = 9.0  # width of a figure in the page
LETTERS_AN_INCH = 4.5  # of a condition's name beside panels
NAMES_ACROSS = 4  # in a legend
NAME_INCHES = 0.33  # height of a legend's row, whose names take up to two lines
DOTS_PER_INCH = 110  # of pictures in figures of the page
TEXT_SIZES = {"font.size": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}
SETTINGS: dict[Any, Any] = {
    **TEXT_SIZES,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@contextlib.contextmanager
def styled(settings: Mapping[Any, Any] = SETTINGS) -> Generator[None]:
    """The context that figures are made in: settings, and fonts for the names that people give."""
    with matplotlib.rc_context(dict(settings)), plain_text():
        yield


def as_svg(figure: Figure, description: str) -> str:
    """The figure as an SVG element whose colours follow the page's theme; the same text for the same figure.

    `description` is what somebody hears who does not see it.
    """
    figure.set_facecolor("none")
    for axes in figure.axes:
        axes.set_facecolor("none")
    with styled({**SETTINGS, "svg.hashsalt": "fertool", "svg.fonttype": "none"}):
        text = printed(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # names of groups repeat from figure to figure; nothing refers to them
    text = re.sub(r'<g id="[a-zA-Z]+\w*_\d+"', "<g", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{_attribute(description)}"', 1)


def lay_out(figure: Figure) -> None:
    """Place a figure's parts as its layout engine has them, once and for all: every drawing would do it again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def printed(figure: Figure, suffix: str, dots_per_inch: float = DOTS_PER_INCH) -> bytes:
    """The figure as SVG, PDF or PNG, without the moment of writing, so that the same figure has the same bytes.

    `Figure.savefig` draws a figure twice, the first time for nothing.
    """
    buffer = io.BytesIO()
    figure.set_dpi(dots_per_inch)
    if suffix == "svg":
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    elif suffix == "pdf":
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    else:
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _attribute(text: str) -> str:
    for bare, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(bare, escaped)
    return text


def style_of(number: int) -> dict[str, Any]:
    """The colour and marker of a series."""
    return {"color": SERIES[number % len(SERIES)], "marker": MARKERS[number % len(MARKERS)]}


def fitted(name: str, width_inches: float) -> str:
    """A condition's name on at most two lines that leave a figure of this width its room."""
    letters = max(int(LETTERS_AN_INCH * width_inches), 12)
    text = drawable(name, 2 * letters)
    # names of networks break behind an underscore, unless a part of them must be broken anyhow
    loose = text.replace("_", "_ ")
    if all(len(part) <= letters for part in loose.split()):
        lines = [line.replace("_ ", "_") for line in textwrap.wrap(loose, letters)] or [""]
    else:
        lines = textwrap.wrap(text, letters)
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1][: letters - 1]}…"]
    return "\n".join(lines)


def name_above(figure: Figure, axes: Axes, across: int) -> None:
    """The legend of one of a figure's axes above them all: within, it would lie on bars and marks."""
    handles, labels = axes.get_legend_handles_labels()
    names = [fitted(label, 1.6 * figure.get_figwidth() / across) for label in labels]
    figure.legend(handles, names, loc="outside upper left", frameon=False, fontsize=8,
                  ncols=across)  # fmt: skip


def plain(axes: Axes) -> None:
    """Leave the frame's upper and right side away."""
    axes.spines[["top", "right"]].set_visible(False)
