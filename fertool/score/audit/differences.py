"""Intervals of accuracies, and whether two differ by more than chance."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95
Z = float(ndtri((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Difference:
    """An accuracy less another: `p` is two-sided, `interval` has 95%; `faces` are those that both are of."""

    difference: float
    interval: tuple[float, float]
    p: float
    test: str
    faces: int | None  # None where the faces are not paired


def accuracy_interval(right: int, faces: int) -> tuple[float, float]:
    """The 95% limits of a proportion, by Wilson's score interval (1927)."""
    from scipy.stats import binomtest

    found = binomtest(right, faces).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """The accuracy of `second` less that of `first` on the same faces, both bool (N,).

    McNemar's exact test (1947); limits by the adjusted Wald interval of Bonett and Price (2012, 'Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data', equation 3).
    """
    from scipy.stats import binomtest

    faces = len(first)
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    up, down = (won + 1) / (faces + 2), (lost + 1) / (faces + 2)
    reach = Z * np.sqrt((up + down - (up - down) ** 2) / (faces + 2))
    limits = (max(-1.0, float(up - down - reach)), min(1.0, float(up - down + reach)))
    return Difference((won - lost) / faces, limits, p, "McNemar", faces)


def unpaired_difference(first: tuple[int, int], second: tuple[int, int]) -> Difference:
    """The accuracy of `second` less that of `first`, each (right, faces), on faces that cannot be paired.

    Pearson's chi-squared test of two proportions; limits by Newcombe (1998, 'Interval estimation for the difference
    between independent proportions', method 10).
    """
    from scipy.stats import chi2_contingency

    table = np.array([[right, faces - right] for right, faces in (first, second)])
    p = 1.0 if (table.sum(axis=0) == 0).any() else float(chi2_contingency(table, correction=False)[1])
    (rate_a, rate_b) = (right / faces for right, faces in (first, second))
    (low_a, high_a), (low_b, high_b) = accuracy_interval(*first), accuracy_interval(*second)
    difference = rate_b - rate_a
    low = difference - np.hypot(rate_b - low_b, high_a - rate_a)
    high = difference + np.hypot(high_b - rate_b, rate_a - low_a)
    return Difference(difference, (float(low), float(high)), p, "two proportions", None)
