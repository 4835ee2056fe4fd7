"""Figures in sentences: one way of writing each."""

from collections.abc import Sequence

from fertool.score.guidance.effects import Estimate

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number(count: int) -> str:
    """A small count as a word, a large one in digits."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def seeds(count: int) -> str:
    """`one seed`, `five seeds`."""
    return f"{number(count)} seed{'' if count == 1 else 's'}"


def listed(words: Sequence[str], joint: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; `a; b, in part; and c` where a comma stands in one of them outside brackets."""
    *first, last = words
    if not first:
        return last
    if any(_has_comma(word) for word in words):
        return f"{'; '.join(first)}; {joint} {last}"
    return f"{', '.join(first)} {joint} {last}"


def _has_comma(word: str) -> bool:
    depth = 0
    for letter in word:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            return True
    return False


def percent(estimate: Estimate, digits: int = 1) -> str:
    """A proportion with its interval in percent, `64.1% [62.5, 65.7]`."""
    return (
        f"{100 * estimate.value:.{digits}f}% "
        f"[{100 * estimate.low:.{digits}f}, {100 * estimate.high:.{digits}f}]"
    )


def points(difference: Estimate, digits: int = 1) -> str:
    """A difference of proportions with its sign, `+2.3 points [+1.1, +3.5]`."""
    value, low, high = (
        f"{100 * figure:+.{digits}f}" for figure in (difference.value, difference.low, difference.high)
    )
    return f"{value} points [{low}, {high}]"


def size_in_points(difference: Estimate, digits: int = 1) -> str:
    """The size of a difference that is shown, `11.0 points [9.2, 12.8]`: the side is said in words."""
    low, high = sorted(abs(100 * limit) for limit in (difference.low, difference.high))
    return f"{abs(100 * difference.value):.{digits}f} points [{low:.{digits}f}, {high:.{digits}f}]"


def plain(estimate: Estimate, digits: int = 2) -> str:
    """A figure that is no proportion with its interval, `1.82 [1.75, 1.90]`."""
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def signed(difference: Estimate, digits: int = 2) -> str:
    """A difference of figures that are no proportions with its sign, `+0.12 [+0.05, +0.19]`."""
    value, low, high = (
        f"{figure:+.{digits}f}" for figure in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"


def is_known(estimate: Estimate | None) -> bool:
    """Whether there is a figure with an interval."""
    return estimate is not None and estimate.direction is not None
