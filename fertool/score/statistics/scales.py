"""The scales on which intervals over seeds are made, so that they lie where their figures can lie.

An interval f -+ e knows no range: two seeds with accuracies of 32 and 43% would have one from -26 to 101%. On the scale
g(f), whose range is all numbers, it has none to leave: its limits are g^-1(g(f) -+ g'(f) e), which for a small e are
f -+ e (the delta method; Agresti 2013, 'Categorical Data Analysis', section 3.1, for proportions).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

Values = np.ndarray


@dataclass(frozen=True)
class Scale:
    """A scale for figures that lie between two ends."""

    name: str
    low: float
    high: float
    to: Callable[[Values], Values]
    back: Callable[[Values], Values]
    slope: Callable[[Values], Values]  # the derivative of `to`

    def has(self, figures: Values) -> Values:
        """Whether figures lie between the ends, not on them, bool."""
        return (figures > self.low) & (figures < self.high)

    def __reduce__(self) -> tuple[Callable[[str], "Scale"], tuple[str]]:
        # its functions have no name by which another process would find them
        return scale_named, (self.name,)

    @property
    def widest(self) -> float:
        """The largest difference that two figures can have."""
        return self.high - self.low


UNBOUNDED = Scale("unbounded", -np.inf, np.inf, lambda f: f, lambda x: x, np.ones_like)
PROPORTION = Scale("proportion", 0, 1, logit, expit, lambda f: 1 / (f * (1 - f)))  # accuracies, shares, F1
POSITIVE = Scale("positive", 0, np.inf, np.log, np.exp, lambda f: 1 / f)  # lifts and other ratios, distances
CORRELATION = Scale("correlation", -1, 1, np.arctanh, np.tanh, lambda f: 1 / (1 - f**2))


def scale_named(name: str) -> Scale:
    """The scale of that name."""
    return next(scale for scale in (UNBOUNDED, PROPORTION, POSITIVE, CORRELATION) if scale.name == name)


Scales = Scale | Sequence[Scale]


def columns_by_scale(scales: Scales, figures: int) -> list[tuple[Scale, np.ndarray]]:
    """The numbers of the figures, of so many, that each scale is of; one scale may be of all."""
    each = [scales] * figures if isinstance(scales, Scale) else list(scales)
    if len(each) != figures:
        raise ValueError(f"{len(each)} scales for {figures} figures")
    numbers = {scale.name: scale for scale in each}
    return [
        (scale, np.array([number for number, own in enumerate(each) if own.name == name], dtype=int))
        for name, scale in numbers.items()
    ]
