"""Differences between runs on the same images: one omnibus test, then the declared contrasts.

Under the null hypothesis the two runs are exchangeable on every image: swapping their maps changes the sign
of the image's difference and nothing else. Flipping the signs of whole clusters (identical twins together)
at random therefore gives the distribution of any statistic (Fisher 1935, "The design of experiments",
section 21), and p = (1 + count) / (1 + draws), the count of flips whose statistic is at least the observed
one, never falls below its level (Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular
Biology 9).

Every statistic here is a sum of squares of flipped sums x' e over columns x of cluster sums, e = +-1. For a
contrast, one column, that orders the flips as the two-sided paired t statistic does. For the omnibus test the
columns are the log-ratios of the shares, whitened by their second moments, which no flip changes: Hotelling's
T^2 up to a monotone function (Hotelling 1931, Annals of Mathematical Statistics 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fertool.score.statistics.intervals import (
    CHUNK_VALUES,
    DRAWS,
    cluster_members,
    difference_interval,
    resample_means,
)
from fertool.score.statistics.scales import PROPORTION

PERMUTATIONS = 20_000
DETECTION_LIMIT = 1e-3  # a share below is taken as zero: its logarithm would say nothing else
ZERO_REPLACEMENT = 0.65 * DETECTION_LIMIT


@dataclass(frozen=True)
class Contrast:
    """The difference in the mean share of one region, first run less second."""

    region: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float  # corrected over all contrasts of all comparisons made together


@dataclass(frozen=True)
class Comparison:
    """Two runs, or conditions with several seeds, on the same images."""

    names: tuple[str, str]
    seeds: tuple[int, int]
    images: int
    omnibus_p: float  # that no log-ratio of shares differs
    omnibus_p_holm: float  # corrected over all comparisons made together
    contrasts: tuple[Contrast, ...]


def compare_all(
    shares: Mapping[str, np.ndarray],
    clusters: np.ndarray,
    contrasts: Sequence[int],
    *,
    permutations: int = PERMUTATIONS,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every run with every later one on the same images.

    With several seeds the p-values are of the per-image means over seeds. They speak of these trained
    networks on other images; only the intervals speak of other seeds as well. A p-value may thus be small
    where the interval holds 0: the networks differ, and whether the methods do is open.

    Args:
        shares: by name, (N, R) or, of S seeds, (S, N, R); they add up to 1 over regions. Images without shares (nan)
            in any run or seed are left out of all.
        clusters: numbers that images share which are not independent, (N,).
        contrasts: codes of the regions whose shares are compared one by one.
        permutations: number of sign flips behind a p-value. Default: 20,000.
        draws: number of resamples behind an interval. Default: 2,000.
        seed: seed of the flips and resamples. Default: 0.

    Returns:
        A comparison for each pair, in the order of `shares`; an empty list where no image has shares in all runs.
    """
    names = list(shares)
    shares_by_run = {name: np.asarray(values, dtype=np.float64) for name, values in shares.items()}
    shares_by_run = {
        name: values[None] if values.ndim == 2 else values for name, values in shares_by_run.items()
    }
    complete = np.all([np.isfinite(values).all(axis=(0, 2)) for values in shares_by_run.values()], axis=0)
    shares_by_run = {name: values[:, complete] for name, values in shares_by_run.items()}
    clusters = np.asarray(clusters)[complete]
    pairs = list(combinations(names, 2))
    regions = list(contrasts)
    if not complete.any() or not pairs:
        return []

    members = cluster_members(clusters)
    ratios = {name: log_ratios(values).mean(axis=0) for name, values in shares_by_run.items()}
    means = {name: values.mean(axis=0)[:, regions] for name, values in shares_by_run.items()}
    blocks: list[np.ndarray] = []
    for a, b in pairs:
        blocks.append(_whitened(members @ (ratios[a] - ratios[b])))
        blocks.extend((members @ (means[a] - means[b])).T[:, :, None])
    p = sign_flip_p_values(blocks, permutations=permutations, seed=seed).reshape(len(pairs), -1)
    omnibus_p_holm = holm(p[:, 0])
    p_holm = holm(p[:, 1:].ravel()).reshape(len(pairs), -1)

    resampled = {
        name: resample_means(values[:, :, regions], clusters, draws=draws, seed=seed)
        for name, values in shares_by_run.items()
    }
    comparisons = []
    for row, (a, b) in enumerate(pairs):
        difference = resampled[a].figures - resampled[b].figures
        low, high = difference_interval(resampled[a], resampled[b], PROPORTION)
        contrast_rows = zip(regions, difference, low, high, p[row, 1:], p_holm[row], strict=True)
        comparisons.append(
            Comparison(
                names=(a, b),
                seeds=(len(shares_by_run[a]), len(shares_by_run[b])),
                images=int(complete.sum()),
                omnibus_p=float(p[row, 0]),
                omnibus_p_holm=float(omnibus_p_holm[row]),
                contrasts=tuple(Contrast(region, *map(float, rest)) for region, *rest in contrast_rows),
            )
        )
    return comparisons


def sign_flip_p_values(
    blocks: Sequence[np.ndarray], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> np.ndarray:
    """A two-sided p-value for each block of cluster sums (C, J) under random flips of the clusters' signs.

    A block's statistic is the sum over its columns of the squared flipped sum. All blocks see the same flips.
    The smallest p-value is 1 / (1 + permutations); a block of zeros has 1. Memory is bounded.
    """
    columns = np.concatenate(blocks, axis=1)
    starts = np.cumsum([0, *(block.shape[1] for block in blocks[:-1])])
    scale = np.abs(columns).max(axis=0)
    # one scale a block, or float32 products of squares would overflow or vanish
    scale = np.maximum.reduceat(scale, starts)
    scale = np.repeat(np.where(scale > 0, scale, 1), [block.shape[1] for block in blocks])
    columns = (columns / scale).astype(np.float32)
    total = columns.sum(axis=0)

    def statistics(flipped: np.ndarray) -> np.ndarray:
        return np.add.reduceat(flipped**2, starts, axis=1)

    # flips that tie with the observed sum must count as ties whatever float32 rounds
    observed = statistics(total[None]) * (1 - 1e-4) - 1e-9
    rng = np.random.default_rng(seed)
    clusters = len(columns)
    chunk = max(1, CHUNK_VALUES // max(columns.shape))
    count = np.zeros(len(blocks), dtype=np.int64)
    for start in range(0, permutations, chunk):
        rows = min(chunk, permutations - start)
        bits = np.frombuffer(rng.bytes(rows * -(-clusters // 8)), dtype=np.uint8).reshape(rows, -1)
        flips = np.unpackbits(bits, axis=1, count=clusters).astype(np.float32)
        count += (statistics(2 * (flips @ columns) - total) >= observed).sum(axis=0)
    return (1 + count) / (1 + permutations)


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values (m,) of Holm (1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def log_ratios(shares: np.ndarray) -> np.ndarray:
    """Centred log-ratios of compositions (..., R) that add up to 1 (Aitchison 1986).

    Shares below `DETECTION_LIMIT` are replaced by `ZERO_REPLACEMENT` and the others scaled so that the sum
    stays 1, the multiplicative replacement of Martin-Fernandez, Barcelo-Vidal and Pawlowsky-Glahn (2003,
    Mathematical Geology 35), with 0.65 of the detection limit as they advise.
    """
    zero = shares < DETECTION_LIMIT
    rest = 1 - ZERO_REPLACEMENT * zero.sum(axis=-1, keepdims=True)
    kept = np.where(zero, 0, shares)
    logs = np.log(np.where(zero, ZERO_REPLACEMENT, rest * kept / kept.sum(axis=-1, keepdims=True)))
    return logs - logs.mean(axis=-1, keepdims=True)


def _whitened(sums: np.ndarray) -> np.ndarray:
    """Cluster sums (C, R) in the coordinates in which their second moments are the identity, (C, rank)."""
    left, singular, _ = np.linalg.svd(sums, full_matrices=False)
    rank = int((singular > 1e-8 * singular.max(initial=0)).sum())
    return left[:, :rank] if rank else np.zeros((len(sums), 1))
