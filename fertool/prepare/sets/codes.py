"""The codes that data sets have for emotions, by the sets' names."""

from collections.abc import Mapping

from fertool.prepare.emotions import CONTEMPT, EMOTIONS


def _numbered(first: int, *names: str) -> dict[str, str]:
    return {str(code): name for code, name in enumerate(names, first)}


FER2013 = _numbered(0, *EMOTIONS)
CKEXTENDED = _numbered(0, *EMOTIONS, CONTEMPT)
RAF_DB = _numbered(1, "surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
AFFECTNET = _numbered(
    0, "neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", CONTEMPT, "none", "uncertain", "no face"
)  # fmt: skip
CK = _numbered(0, "neutral", "angry", CONTEMPT, "disgust", "fear", "happy", "sad", "surprise")
EXPW = _numbered(0, "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

CODES: Mapping[str, Mapping[str, str]] = {
    "fer2013": FER2013,
    "ckextended": CKEXTENDED,
    "raf-db": RAF_DB,
    "affectnet": AFFECTNET,
    "ck+": CK,
    "expw": EXPW,
}
"""The codes by the names that --label-map takes."""


def fitting(labels: set[str]) -> list[str]:
    """The names of the sets whose codes include all of `labels`."""
    return [name for name, codes in CODES.items() if labels <= set(codes)]


def in_words(codes: Mapping[str, str]) -> str:
    """Codes as `0 angry, 1 disgust, ...`."""
    return ", ".join(f"{code} {name}" for code, name in codes.items())
