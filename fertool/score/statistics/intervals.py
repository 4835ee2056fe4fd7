"""95% intervals of figures over images, by bootstrap, and over seeds where there are several.

Two sources of chance stand behind a figure: which images the split holds, and which seeds were trained.

Images are resampled in whole clusters (identical twins go together), the same resamples for every run and
figure. Limits are those of the BCa interval (Efron 1987, "Better bootstrap confidence intervals", JASA 82),
which follows the skewness of shares and rates, at the expanded levels of Hesterberg (2015, "What teachers
should know about the bootstrap", The American Statistician 69): with n clusters the normal quantile z is
replaced by sqrt(n / (n - 1)) t_{n-1}, without which bootstrap intervals of small samples are too narrow.

Seeds are too few to be resampled: of two, a bootstrap sees half the variance and three distinct means. In the
two-way random model (seed + image + interaction of both) the mean over S seeds errs by two independent parts:
the mean of the seeds' own deviations, interaction included, which has a t interval with S - 1 degrees of
freedom; and what the images do to all seeds alike, whose limits l are those above, drawn in by the share of
the variance that is interaction. The method of variance estimates recovery joins them (MOVER; Zou and Donner
2008, Statistics in Medicine 27):

    limits = f -+ sqrt((f - l)^2 + t^2 v),   v = variance of the seeds' figures / S

So that limits lie where their figure can lie, they are joined on a scale that ends nowhere (see `scales`): the logit of
a proportion, the logarithm of a ratio. The seeds' variance is that of the figures, brought to the scale by its slope,
or that of the figures on the scale, whichever is larger: by the slope alone skewed figures have too narrow an interval.

Coverage by simulation, of two, three and five seeds. Where the spread of seeds is most of what there is: 93 to 96%, for
accuracies and shares of 5 to 90% and seeds that differ by a standard deviation of up to 1 on the logit scale (around
38% one of three seeds is then outside 18 to 62%), and for lifts of up to 0.6 on the logarithm's. Beyond that few seeds
do not show how long the tail is: 92% for five seeds of a share of 2% that spread by 1, or of lifts that do. Where seeds
differ hardly more than by the images, the two parts are not told apart, and intervals are wider than need be: up to 97%
with five seeds and 99% with two (differences up to 98% and 99.7%). With two seeds they are wide whatever they are of:
two tell next to nothing of their spread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.special import ndtr, ndtri, stdtrit

from fertool.score.statistics.scales import UNBOUNDED, Scale, Scales, columns_by_scale

LEVEL = 0.95
DRAWS = 2000
CHUNK_VALUES = 2**21  # of a random matrix held at once: 16 MiB as int64

Limits = tuple[np.ndarray, np.ndarray]  # lower and upper, (K,) each


@dataclass(frozen=True)
class Resampled:
    """K figures of S seeds, on all images and on resamples of them; nan where a figure has no images."""

    estimates: np.ndarray  # (S, K)
    draws: np.ndarray  # (B, S, K): on B resamples of the clusters
    left_out: np.ndarray  # (C, S, K): without each of the C clusters in turn

    def apply(self, figures: Callable[[np.ndarray], np.ndarray]) -> "Resampled":
        """Other figures that are functions of these: `figures` takes (..., K) and gives (..., M).

        A ratio of means, F1 or MCC from the mean confusion matrix, a mean over classes.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return Resampled(figures(self.estimates), figures(self.draws), figures(self.left_out))

    @property
    def figures(self) -> np.ndarray:
        """The figures, means over seeds, (K,)."""
        return self.estimates.mean(axis=0)

    def interval(self, scales: Scales = UNBOUNDED) -> Limits:
        """Limits of the figures over images and, with several seeds, over seeds, which lie in the range of `scales`.

        nan where fewer than two clusters count. A figure that no cluster changes gets an interval of no width.
        Limits of one seed lie where the figures of resamples lie, whatever the scale.
        """
        mean = _over_mean_seed([self])
        low, high = np.empty(len(mean.figures)), np.empty(len(mean.figures))
        for scale, columns in columns_by_scale(scales, len(mean.figures)):
            low[columns], high[columns] = _joined(mean.columns(columns), [self.columns(columns)], scale)
        return low, high

    def columns(self, numbers: np.ndarray) -> "Resampled":
        """The figures of these numbers alone."""
        return Resampled(self.estimates[:, numbers], self.draws[..., numbers], self.left_out[..., numbers])


def difference_interval(a: Resampled, b: Resampled, scales: Scales = UNBOUNDED) -> Limits:
    """Limits of a's figures less b's, paired over images: both must come from the same resamples.

    Seeds of the two sides are unpaired, and each side adds its own part t^2 v. A side with one seed is taken
    as that one network: what another seed of it would give is not in the interval. No limit is further from 0 than
    two figures of their scale can be apart.
    """
    low, high = _joined(_over_mean_seed([a, b]), [a, b], UNBOUNDED)
    for scale, columns in columns_by_scale(scales, len(low)):
        low[columns] = low[columns].clip(min=-scale.widest)
        high[columns] = high[columns].clip(max=scale.widest)
    return low, high


def mean_interval(values: np.ndarray, clusters: np.ndarray, *, draws: int = DRAWS) -> Limits:
    """Limits of the means of `values`, as `resample_means` takes them."""
    return resample_means(values, clusters, draws=draws).interval()


def resample_means(
    values: np.ndarray, clusters: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> Resampled:
    """Means over images of `values` (N,), (N, K) or, of S seeds on the same images, (S, N, K).

    `clusters` (N,) are integers: images with the same number are resampled together. nan says that an image
    does not count in a column, as for the mean over one class. The same `clusters`, `draws` and `seed` give
    the same resamples in every call. Beyond the result it takes a few times the memory of `values`, and one
    byte a draw and cluster, kept for the next call.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    values = values[None] if values.ndim == 2 else values
    seeds, images, figures = values.shape
    columns = values.transpose(1, 0, 2).reshape(images, seeds * figures)

    counted = ~np.isnan(columns)
    if counted.all():
        counted = counted[:, :1]
    columns = np.nan_to_num(columns)
    members = cluster_members(clusters)
    sizes = members @ counted.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = sizes.sum(axis=0)
        means = columns.sum(axis=0) / size
        # of deviations, so that float32 keeps six digits of the spread, not of the mean
        sums = members @ np.where(counted, columns - means, 0)
        left_out = means - sums / (size - sizes)
        drawn = np.empty((draws, seeds * figures))
        sums, sizes = sums.astype(np.float32), sizes.astype(np.float32)
        all_counts = _cluster_counts(len(sums), draws, seed)
        for rows in _chunks(draws, len(sums)):
            counts = all_counts[rows].astype(np.float32)
            drawn[rows] = means + (counts @ sums) / (counts @ sizes)
    return Resampled(
        means.reshape(seeds, figures),
        drawn.reshape(draws, seeds, figures),
        left_out.reshape(-1, seeds, figures),
    )


def cluster_members(clusters: np.ndarray) -> sparse.csr_matrix:
    """The matrix (C, N) that sums over the images of each cluster."""
    names, codes = np.unique(clusters, return_inverse=True)
    images = len(codes)
    return sparse.csr_matrix((np.ones(images), (codes, np.arange(images))), shape=(len(names), images))


@lru_cache(maxsize=2)
def _cluster_counts(clusters: int, draws: int, seed: int) -> np.ndarray:
    """Number of times that each cluster stands in each resample, uint8 (B, C), shared by runs, figures and suites."""
    rng = np.random.default_rng(seed)
    counts = np.empty((draws, clusters), dtype=np.uint8)
    for rows in _chunks(draws, clusters):
        drawn = rng.integers(clusters, size=counts[rows].shape)
        drawn += np.arange(len(drawn))[:, None] * clusters
        counts[rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
    counts.flags.writeable = False
    return counts


def _chunks(rows: int, columns: int) -> list[slice]:
    """Slices of the rows of a matrix that hold at most `CHUNK_VALUES` each."""
    step = max(1, CHUNK_VALUES // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _over_mean_seed(sides: list[Resampled]) -> Resampled:
    """The mean over seeds, of the first side less that of the second if there is one."""
    signs = (1, -1)[: len(sides)]
    return Resampled(
        sum(
            sign * side.estimates.mean(axis=0, keepdims=True) for sign, side in zip(signs, sides, strict=True)
        ),
        sum(sign * side.draws.mean(axis=1, keepdims=True) for sign, side in zip(signs, sides, strict=True)),
        sum(
            sign * side.left_out.mean(axis=1, keepdims=True) for sign, side in zip(signs, sides, strict=True)
        ),
    )


def _joined(mean: Resampled, sides: list[Resampled], scale: Scale) -> Limits:
    """The limits of `mean` on a scale, over the images and the seeds of its sides."""
    figures = mean.figures
    low, high = _over_images(mean)
    several = [side for side in sides if len(side.estimates) > 1]
    if not several:
        return low, high
    squared_seed_margin = sum(_squared_seed_margin(side, figures, scale) for side in several)
    # what images do to single seeds is in the seeds' spread already
    interaction = sum(_interaction_variance(side) / len(side.estimates) for side in several)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = 1 - interaction / _variance(mean)[0]
    common = np.nan_to_num(common).clip(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = scale.to(figures)
        # a limit at the end of the range is infinitely far
        down, up = (
            np.where(common > 0, common * (middle - scale.to(limit)) ** 2, 0) for limit in (low, high)
        )
        joined = (
            scale.back(middle - np.sqrt(down + squared_seed_margin)),
            scale.back(middle + np.sqrt(up + squared_seed_margin)),
        )
    # a figure at the end of its range is there for every seed
    inside = scale.has(figures)
    return np.where(inside, joined[0], low), np.where(inside, joined[1], high)


def _squared_seed_margin(side: Resampled, figures: np.ndarray, scale: Scale) -> np.ndarray:
    """The seeds' part (K,) of an interval of `figures`, t^2 v, on a scale."""
    seeds = len(side.estimates)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_slope = side.estimates.var(axis=0, ddof=1) * scale.slope(figures) ** 2
        # seeds at the end of the range are infinitely far
        on_scale = scale.to(side.estimates).var(axis=0, ddof=1)
    variance = np.where(np.isfinite(on_scale), np.maximum(by_slope, on_scale), by_slope)
    return stdtrit(seeds - 1, (1 + LEVEL) / 2) ** 2 * variance / seeds


def _interaction_variance(side: Resampled) -> np.ndarray:
    """The variance (K,) over resamples of what the images do to one seed and not to the others."""
    own = Resampled(
        side.estimates - side.figures, side.draws - side.draws.mean(axis=1, keepdims=True), side.left_out
    )
    return _variance(own).sum(axis=0) / (len(side.estimates) - 1)


def _variance(resampled: Resampled) -> np.ndarray:
    """The variance (S, K) over resamples; one that holds no image of a figure adds nothing."""
    draws = resampled.draws
    return np.where(np.isnan(draws), resampled.estimates, draws).var(axis=0)


def _over_images(mean: Resampled) -> Limits:
    """Expanded BCa limits of figures of one seed."""
    figures = mean.figures
    ordered = np.sort(mean.draws[:, 0], axis=0)  # nan come last
    known = np.isfinite(ordered).sum(axis=0)
    left_out = mean.left_out[:, 0]
    with np.errstate(invalid="ignore"):  # a figure that is unbounded, as a ratio to nothing, has no influence
        influence = left_out.mean(axis=0) - left_out
    largest = np.abs(influence).max(axis=0)
    # a figure of one class hangs on the clusters of that class only
    count = (np.abs(influence) > 1e-6 * largest).sum(axis=0)
    constant = largest <= 1e-12 * np.abs(figures)

    with np.errstate(divide="ignore", invalid="ignore"):
        rounding = 1e-5 * np.sqrt((influence**2).sum(axis=0))
        below = (ordered < figures - rounding).sum(axis=0) + (ordered <= figures + rounding).sum(axis=0)
        bias = ndtri(np.clip(below / (2 * known), 1 / known, 1 - 1 / known))
        acceleration = (influence**3).sum(axis=0) / (6 * (influence**2).sum(axis=0) ** 1.5)
        reach = np.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 + LEVEL) / 2)
        low, high = (
            _quantile(ordered, known, ndtr(bias + z / np.maximum(1 - acceleration * z, 1e-9)))
            for z in (bias - reach, bias + reach)
        )
    return np.where(constant, figures, low), np.where(constant, figures, high)


def _quantile(ordered: np.ndarray, known: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The quantile of each sorted column (B, K) at its own level (K,), among its first `known` values."""
    position = np.nan_to_num(levels) * (known - 1).clip(0)
    below = position.astype(int)
    above = np.minimum(below + 1, (known - 1).clip(0))
    column = np.arange(ordered.shape[1])
    values = ordered[below, column] + (position - below) * (ordered[above, column] - ordered[below, column])
    return np.where(np.isnan(levels), np.nan, values)
