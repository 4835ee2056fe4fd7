"""Drawing: a face, heat over it, and the outlines of its regions."""

import io

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from fertool.explain.interpolation import interpolate
from fertool.masks.region_colours import REGION_COLOURS
from fertool.masks.regions import BACKGROUND, FACE_CONTOUR, REGIONS
from fertool.runtime.drawn_text import plain_text

# Inferno's lightness rises evenly, so it is read alike by colour-blind readers and in a grey print (Nunez, Anderton
# and Renslow 2018, 'Optimizing colormaps with consideration for color vision deficiency'). Its dark end is left out,
# and heat is the more transparent the weaker it is: the face stays as light as it is where there is no heat. The face
# is shown in grey: all colour in the picture is heat.
HEAT_COLOURS = "inferno"
HEAT_START = 0.65  # share of inferno that is left out: heat lightens a face of medium brightness
HEAT_OPACITY = 0.8  # of the strongest heat
MEDIUM_GREY = 0.6  # of a face in the legend
FINEST_PIXELS = 192  # a side that heat is interpolated to


def _heat_colours() -> ListedColormap:
    shares = np.linspace(0, 1, 256)
    colours = matplotlib.colormaps[HEAT_COLOURS](HEAT_START + (1 - HEAT_START) * shares)
    colours[:, 3] = HEAT_OPACITY * np.sqrt(shares)
    return ListedColormap(colours, name="heat")


SHEER_HEAT = _heat_colours()


def _legend_colours() -> ListedColormap:
    """The colours of heat as they look over a face of medium brightness."""
    colours = SHEER_HEAT(np.linspace(0, 1, 256))
    return ListedColormap(colours[:, :3] * colours[:, 3:] + MEDIUM_GREY * (1 - colours[:, 3:]), name="legend")


# over heat no colour is free: white with a dark edge stands out from all of inferno
OVER_HEAT = "white"
LINE_WIDTH_PT = 0.9
BAR_INCHES = 3.0  # of the legend of heat
DOTS_PER_INCH = 150  # of a picture in a file of its own


def show_face(axes: Axes, face: np.ndarray) -> None:
    """Show a face, uint8 (H, W) or RGB (H, W, 3), across the unit square."""
    axes.imshow(face, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0), interpolation="bicubic")
    axes.set_xticks([])
    axes.set_yticks([])


def show_heat(axes: Axes, face: np.ndarray, heatmap: np.ndarray) -> None:
    """Show a rectified map (h, w) over a face, the colours from 0 to the map's own maximum."""
    if face.ndim == 3:
        # as cv2 turns colour into grey
        face = face @ np.array([0.299, 0.587, 0.114])
    show_face(axes, face)
    (heat,) = interpolate(heatmap[None], (FINEST_PIXELS, FINEST_PIXELS))
    axes.imshow(heat, cmap=SHEER_HEAT, vmin=0, vmax=heat.max() or 1, extent=(0, 1, 1, 0))


def outline_regions(axes: Axes, region_map: np.ndarray, *, over_heat: bool = False) -> None:
    """Outline the regions of region codes (H, W), in their colours, or in white over heat."""
    rows, columns = ((np.arange(side) + 0.5) / side for side in region_map.shape)
    for code, name in enumerate(REGIONS):
        # the face's own outline, not that of the skin between its features
        inside = region_map != BACKGROUND if code == FACE_CONTOUR else region_map == code
        if code == BACKGROUND or not inside.any() or inside.all():
            continue
        lines = axes.contour(
            columns, rows, inside, levels=[0.5],
            colors=OVER_HEAT if over_heat else REGION_COLOURS[name], linewidths=LINE_WIDTH_PT,
        )  # fmt: skip
        if over_heat:
            lines.set(path_effects=[Stroke(linewidth=2 * LINE_WIDTH_PT, foreground="black"), Normal()])


def add_legend(figure: Figure | SubFigure, axes: list[Axes]) -> None:
    """Explain the colours of outlines and of heat below the figure; `axes` give room for the legend."""
    width_inches = figure.bbox.width / figure.dpi
    outlines = [Line2D([], [], color=REGION_COLOURS[name], label=name) for name in REGIONS[1:]]
    figure.legend(
        handles=outlines, loc="outside lower center", ncols=5 if width_inches > 5 else 3, fontsize=7,
        frameon=False,
    )  # fmt: skip
    bar = figure.colorbar(
        ScalarMappable(cmap=_legend_colours()), ax=axes, location="bottom", aspect=30, pad=0.02,
        shrink=min(BAR_INCHES / width_inches, 0.8),
    )  # fmt: skip
    bar.set_ticks([0, 1], labels=["none", "each map's own maximum"], fontsize=7)
    bar.outline.set_visible(False)


def png_bytes(figure: Figure, dots_per_inch: int) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with plain_text(), matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()
