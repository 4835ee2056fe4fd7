"""Figures as JSON has them, which knows no nan: None where there is no number."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fertool.score.statistics.intervals import Resampled
from fertool.score.statistics.scales import UNBOUNDED, Scales


def number_or_none(value: float) -> float | None:
    """A figure, None for nan and infinity."""
    return float(value) if np.isfinite(value) else None


def numbers_or_none(values: Iterable[float]) -> list[float | None]:
    """Several figures, or the two limits of an interval."""
    return [number_or_none(value) for value in values]


def mean_or_none(values: np.ndarray) -> float | None:
    """The mean of values (N,); None where there are none."""
    return float(np.mean(values)) if len(values) else None


def mean_known(values: Iterable[float | None]) -> float | None:
    """The mean of the figures that are known; None where none is."""
    return mean_or_none(np.array([value for value in values if value is not None]))


def named(names: Sequence[str], resampled: Resampled) -> dict[str, float | None]:
    """The figures by their names."""
    return dict(zip(names, numbers_or_none(resampled.figures), strict=True))


def named_intervals(
    names: Sequence[str], resampled: Resampled, scales: Scales = UNBOUNDED
) -> dict[str, list[float | None]]:
    """The figures' 95% limits by their names, in the range of `scales`."""
    limits = zip(names, *resampled.interval(scales), strict=True)
    return {name: numbers_or_none([low, high]) for name, low, high in limits}


def with_intervals(names: Sequence[str], resampled: Resampled, scales: Scales = UNBOUNDED) -> dict[str, Any]:
    """The figures by their names, and the limits of each as `<name>_interval`."""
    intervals = named_intervals(names, resampled, scales)
    return named(names, resampled) | {f"{name}_interval": limits for name, limits in intervals.items()}
