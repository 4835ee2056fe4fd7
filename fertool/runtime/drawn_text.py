"""Names from outside, fit to be drawn by matplotlib: no mathematics, no missing glyphs, no endless lines."""

import contextlib
import functools
from collections.abc import Generator

from fertool.runtime.printable import printable

LONGEST = 40  # characters of a name in a figure
DEFAULT_FAMILY = "DejaVu Sans"  # comes with matplotlib
# families for the characters that it has not, where the system has one of them
WIDER_FAMILIES = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans", "WenQuanYi Zen Hei",
    "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Unifont",
)  # fmt: skip


def drawable(text: str, longest: int = LONGEST) -> str:
    r"""`text` in characters that a figure can show: others as codes (`\u65e5`), and cut where it is too long.

    Line breaks that a caller puts between names stay.
    """
    return "\n".join(_drawable_line(line, longest) for line in text.split("\n"))


@contextlib.contextmanager
def plain_text() -> Generator[None]:
    """Inside, what matplotlib draws is text: dollar signs are no mathematics, and all fonts that help are asked."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False, "font.family": list(_families())}):
        yield


def _drawable_line(line: str, longest: int) -> str:
    glyphs = _glyphs()
    shown = "".join(
        character if ord(character) in glyphs else character.encode("unicode_escape").decode("ascii")
        for character in printable(line)
    )
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


@functools.cache
def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return (DEFAULT_FAMILY, *(family for family in WIDER_FAMILIES if family in there))


@functools.cache
def _glyphs() -> frozenset[int]:
    """The characters that these families have."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(
        code
        for family in _families()
        for code in get_font(findfont(FontProperties(family=[family]))).get_charmap()
    )
