import io
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from fertool.runtime.drawn_text import LONGEST, drawable, plain_text


def drawn(text: str) -> bytes:
    """A picture of the text; any warning of a missing glyph is an error."""
    buffer = io.BytesIO()
    with plain_text(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0.5, drawable(text), fontsize=6)
        figure.savefig(buffer, format="png", dpi=30)
    return buffer.getvalue()


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=[]), max_size=60))
def test_any_name_is_drawn_without_a_warning(text: str) -> None:
    assert drawn(text)
    assert all(len(line) <= LONGEST for line in drawable(text).split("\n"))


@pytest.mark.parametrize("text", ["$a_$", "$\\frac{1}{2}$", "100 %", "happy", "fröhlich", "счастье"])
def test_common_names_stay_as_they_are(text: str) -> None:
    assert drawable(text) == text
    assert drawn(text)


def test_dollar_signs_are_no_mathematics() -> None:
    assert drawn("$a$") != drawn("a")


def test_characters_that_no_font_has_are_codes_and_long_names_are_cut() -> None:
    assert drawable("a\ue000b") == "a\\ue000b"
    assert drawable("a\x1b[31m\udcfc") == "a\\x1b[31m\\xfc"
    assert drawable("x" * 300) == "x" * (LONGEST - 1) + "…"
    assert drawable("run\ngradcam") == "run\ngradcam"
