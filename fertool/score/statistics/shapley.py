"""Cooperative games of the six regions: what each is worth to a value, exactly, over all 64 coalitions.

A coalition is the set of regions that are seen; the others are covered. Coalition number s holds region r
where bit r of s is set: 0 is the face wholly covered, 63 the face itself. A game is the value of each
coalition, here for many faces at once: (64, ...).
"""

from itertools import combinations
from math import factorial

import numpy as np

from fertool.masks.regions import REGIONS

PLAYERS = len(REGIONS)
COALITIONS = 2**PLAYERS
NOTHING_SEEN, ALL_SEEN = 0, COALITIONS - 1
PAIRS = tuple(combinations(range(PLAYERS), 2))

SEEN = (np.arange(COALITIONS)[:, None] >> np.arange(PLAYERS) & 1).astype(bool)
"""Whether a coalition sees a region, bool (64, 6)."""

_SIZES = SEEN.sum(axis=1)


def shapley_matrix() -> np.ndarray:
    """The matrix (6, 64) that takes games (64, ...) to their Shapley values (6, ...).

        phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S with i) - v(S))

    Shapley 1953, 'A Value for n-Person Games'. They add up to v(all seen) - v(nothing seen).
    """
    matrix = np.zeros((PLAYERS, COALITIONS))
    for player in range(PLAYERS):
        without = np.flatnonzero(~SEEN[:, player])
        weights = [
            factorial(size) * factorial(PLAYERS - size - 1) / factorial(PLAYERS) for size in _SIZES[without]
        ]
        matrix[player, without + 2**player] = weights
        matrix[player, without] = np.negative(weights)
    return matrix


def interaction_matrix() -> np.ndarray:
    """The matrix (15, 64) that takes games to the Shapley interaction indices of the pairs in `PAIRS`.

        I_ij = sum over S without i, j of |S|! (n - |S| - 2)! / (n - 1)!
               (v(S with i, j) - v(S with i) - v(S with j) + v(S))

    Grabisch and Roubens 1999, 'An axiomatic approach to the concept of interaction among players in
    cooperative games'. Above 0 two regions are worth more together than apart, below 0 one stands in for the
    other.
    """
    matrix = np.zeros((len(PAIRS), COALITIONS))
    for row, (one, other) in enumerate(PAIRS):
        without = np.flatnonzero(~SEEN[:, one] & ~SEEN[:, other])
        weights = np.array(
            [
                factorial(size) * factorial(PLAYERS - size - 2) / factorial(PLAYERS - 1)
                for size in _SIZES[without]
            ]
        )
        for members, sign in ((2**one + 2**other, 1), (2**one, -1), (2**other, -1), (0, 1)):
            matrix[row, without + members] = sign * weights
    return matrix


def variance_of_coalitions(games: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of games (64, ...) over coalitions, and the part of it that no sum over regions explains.

    Both (...), in the games' unit squared, over all coalitions equally weighted. The second is what the best
    additive game, v(S) = c + sum over S of w_i, leaves: Hammer and Holzman 1992, 'Approximations of
    pseudo-Boolean functions; applications to game theory', whose w are the Banzhaf values. Second over first
    is 0 where each region counts alike whatever else is seen, and 1 where only combinations count.
    """
    signs = np.where(SEEN, 1.0, -1.0)
    varying = games - games.mean(axis=0)
    total = (varying**2).mean(axis=0)
    # the columns of `signs` are orthogonal over the coalitions, so their shares of the variance add up
    additive = (np.tensordot(signs.T / COALITIONS, varying, axes=1) ** 2).sum(axis=0)
    return total, np.maximum(total - additive, 0)
