"""Figures as JSON has them, which knows no nan: None where there is no number."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fertool.score.statistics.intervals import Resampled


def number_or_none(value: float) -> float | None:
    """A figure, None for nan and infinity."""
    return float(value) if np.isfinite(value) else None


def numbers_or_none(values: Iterable[float]) -> list[float | None]:
    """Several figures, or the two limits of an interval."""
    return [number_or_none(value) for value in values]


def mean_or_none(values: np.ndarray) -> float | None:
    """The mean of values (N,), None of none."""
    return float(np.mean(values)) if len(values) else None


def mean_known(values: Iterable[float | None]) -> float | None:
    """The mean of the figures that are known, None of none."""
    return mean_or_none(np.array([value for value in values if value is not None]))


def named(names: Sequence[str], of: Resampled) -> dict[str, float | None]:
    """The figures by their names."""
    return dict(zip(names, numbers_or_none(of.figures), strict=True))


def named_intervals(names: Sequence[str], of: Resampled) -> dict[str, list[float | None]]:
    """The figures' 95% limits by their names."""
    return {name: numbers_or_none(limits) for name, *limits in zip(names, *of.interval(), strict=True)}


def with_intervals(names: Sequence[str], of: Resampled) -> dict[str, Any]:
    """The figures by their names, and the limits of each as `<name>_interval`."""
    intervals = {f"{name}_interval": limits for name, limits in named_intervals(names, of).items()}
    return named(names, of) | intervals
