"""Differences between two groups of images in one network's figures, by permutation.

Under the null hypothesis it does not matter which images are in which group. Dealing them out again at random, group
sizes kept, therefore gives the distribution of any statistic. The one taken is the difference of two ratios of sums,
sum s / sum a (a mean where a is 1), divided by its standard error: so that the test keeps its level where the groups
have unlike sizes and spreads (Janssen 1997, 'Studentized permutation tests for non-i.i.d. hypotheses', Statistics and
Probability Letters 36). The standard error is that of a ratio of sums over clusters (Cochran 1977, 'Sampling
Techniques', section 6.4). Identical twins of one group are dealt out together.
"""

import numpy as np

from fertool.score.statistics.intervals import CHUNK_VALUES, cluster_members

PERMUTATIONS = 10_000


def permutation_p_values(
    numerators: np.ndarray,
    denominators: np.ndarray,
    in_first: np.ndarray,
    clusters: np.ndarray,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> np.ndarray:
    """Two-sided p-values, (K,), of the difference in K ratios of sums between two groups.

    Args:
        numerators: s, float64 (N, K), none of it nan.
        denominators: a, float64 (N, K), above 0.
        in_first: whether an image is in the first group, or else in the second, bool (N,); both have some.
        clusters: numbers that images share which are not independent, (N,).
        permutations: how often images are dealt out again. Default: 10,000.
        seed: seed of the deals. Default: 0.

    Returns:
        p = (1 + deals with a statistic at least as large) / (1 + deals), never below its level (Phipson and Smyth
        2010).
    """
    _, units = np.unique(np.stack([clusters, in_first], axis=1), axis=0, return_inverse=True)
    members = cluster_members(units.reshape(-1))
    first = members @ in_first.astype(np.float64) > 0
    # about the common ratio, so that squares keep their digits
    residues = members @ (numerators - denominators * (numerators.sum(axis=0) / denominators.sum(axis=0)))
    sizes = members @ denominators
    columns = np.concatenate([residues, sizes, residues**2, residues * sizes, sizes**2], axis=1)
    total = columns.sum(axis=0)

    def statistics(in_first_group: np.ndarray) -> np.ndarray:
        one, one_variance = _ratio(in_first_group)
        other, other_variance = _ratio(total - in_first_group)
        apart, error = np.abs(one - other), np.sqrt(one_variance + other_variance)
        same = apart <= 1e-12 * np.abs(numerators).max()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(same, 0, apart / error)

    observed = statistics(first @ columns) * (1 - 1e-9)
    rng, chunk = np.random.default_rng(seed), max(1, CHUNK_VALUES // len(first))
    count = np.zeros(numerators.shape[1], dtype=np.int64)
    for start in range(0, permutations, chunk):
        draws = rng.random((min(chunk, permutations - start), len(first)), dtype=np.float32)
        dealt = np.zeros_like(draws)
        np.put_along_axis(dealt, np.argpartition(draws, first.sum() - 1, axis=1)[:, : first.sum()], 1, axis=1)
        count += (statistics(dealt.astype(np.float64) @ columns) >= observed).sum(axis=0)
    return (1 + count) / (1 + permutations)


def _ratio(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios (..., K) and their variances, from sums (..., 5 K) of r, a, r^2, r a and a^2."""
    residue, size, squared, product, size_squared = np.split(sums, 5, axis=-1)
    ratio = residue / size
    spread = squared - 2 * ratio * product + ratio**2 * size_squared
    return ratio, spread.clip(min=0) / size**2
