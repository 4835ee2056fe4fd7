"""The seven emotions, and the names that data sets give them."""

import re
import unicodedata
from collections.abc import Sequence

from fertool.errors import UserError
from fertool.runtime.printable import printable

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""In the order of the codes 0 to 6 of the FER2013 challenge."""

CONTEMPT = "contempt"
EIGHT = (*EMOTIONS, CONTEMPT)
"""The seven and contempt, as AffectNet, CK+ and FER+ have them."""

_MOST_NAMED = 30  # classes in a message
_LONGEST_CLASS = 80  # characters: a class is a folder's name, and stands in tables

_SYNONYMS = {
    "angry": "anger an mad",
    "disgust": "disgusted di",
    "fear": "fearful afraid scared fe af",
    "happy": "happiness happily joy joyful ha",
    "sad": "sadness sa",
    "surprise": "surprised suprise astonished astonishment su",
    "neutral": "neutrality ne",
}
_EMOTION_OF = {name: name for name in EMOTIONS} | {
    synonym: name for name, synonyms in _SYNONYMS.items() for synonym in synonyms.split()
}
_NUMBERING = re.compile(r"^\d+[\s_.-]+(?=\D)|(?<=\D)[\s_.-]+\d+$")


def class_name(name: str) -> str:
    """The class that a folder's name means: one of EMOTIONS where it is a synonym, else the name itself.

    Case and an emotion's numbering do not count: `Anger`, `0_angry` and `angry-00` are all `angry`. The abbreviations
    are those of JAFFE and KDEF. Characters are compared as Unicode composes them (NFC).
    """
    plain = unicodedata.normalize("NFC", name).strip().lower()  # a Mac's file names are decomposed
    return _EMOTION_OF.get(_NUMBERING.sub("", plain), plain)


def choose_classes(found: Sequence[str], wanted: Sequence[str] | None, where: str) -> list[str]:
    """The classes to keep: `wanted`, else those of `found` that are among EMOTIONS; for EIGHT those among it.

    Emotions come in the order of the challenge's codes, other classes after them in the order in which they are
    wanted. Raises UserError where a wanted class is not found, or fewer than two are left.
    """
    there = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "") or "none"
    if wanted is EIGHT and CONTEMPT not in found:
        raise UserError(f"{where}: no class '{CONTEMPT}' (there are: {there}); leave --eight out")
    if wanted is None or wanted is EIGHT:
        chosen = [name for name in wanted or EMOTIONS if name in found]
        if len(chosen) < 2:
            raise UserError(
                f"{where}: fewer than two classes are named after emotions (there are: {there}); "
                "rename the folders, or name the classes to keep with --classes"
            )
        return chosen
    names = list(dict.fromkeys(class_name(name) for name in wanted))
    for name in names:
        if name not in found:
            raise UserError(f"{where}: no class '{name}' (there are: {there}); correct --classes")
    if len(names) < 2:
        raise UserError("--classes: a classifier needs at least two classes; name more")
    for name in names:
        _check_name(name, where)
    return [name for name in EMOTIONS if name in names] + [name for name in names if name not in EMOTIONS]


def _check_name(name: str, where: str) -> None:
    """Raise UserError for a class that cannot be the name of a folder and of a row in a table."""
    if len(name) > _LONGEST_CLASS or printable(name) != name:
        raise UserError(
            f"{where}: class '{name[:_LONGEST_CLASS]}' has over {_LONGEST_CLASS} characters, or some that cannot be "
            "shown; rename it"
        )
