"""Names from outside, fit to be shown on a terminal, a page or in a message of one line."""

import unicodedata

_SHOWN_AS_CODES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of characters, and the separators of lines and paragraphs."""

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Characters that change the direction of the text after them, or show nothing."""


def printable(text: str) -> str:
    r"""`text` with codes (`\n`, `\x1b`, `\u202e`) for what would move a cursor, turn the text, or is no character.

    A byte of a file name that is not UTF-8 is shown as it is, as `\xfc`. Everything else stays as it is.
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that os.fsdecode could not decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character in _TURNING or unicodedata.category(character) in _SHOWN_AS_CODES:
        return character.encode("unicode_escape").decode("ascii")
    return character
