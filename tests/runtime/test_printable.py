"""Names are shown, whatever they hold, on one line."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.runtime.printable import printable

ANY_CHARACTER = st.characters(codec=None, exclude_categories=())


@given(st.text(ANY_CHARACTER))
def test_any_text_becomes_one_line_that_utf8_has_and_no_terminal_obeys(text):
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len((shown + "x").splitlines()) == 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)
    assert printable(shown) == shown


@given(st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"])))
def test_text_that_can_be_shown_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (os.fsdecode(b"\xfcber.png"), r"\xfcber.png"),
        ("gnp\u202ejpg", r"gnp\u202ejpg"),
        ("\ud800", r"\ud800"),
        ("喜び عربى 😀", "喜び عربى 😀"),
    ],
)
def test_what_is_shown_as_codes(text, shown):
    assert printable(text) == shown


def test_an_error_of_the_users_is_one_line():
    assert str(UserError("a\nb: not there")) == r"a\nb: not there"
