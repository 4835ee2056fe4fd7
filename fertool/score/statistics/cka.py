"""Linear centred kernel alignment: how alike two representations of the same faces are."""

from collections.abc import Sequence

import numpy as np


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear CKA of features (N, p) and (N, q) of the same N > 3 faces: 1 for the same up to a rotation and scale.

        CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))          K = X X', L = Y Y'

    Kornblith et al. 2019, 'Similarity of Neural Network Representations Revisited'. Their HSIC,
    ||Y'X||_F^2 of centred features, grows with p and q where faces are few: of unrelated features the CKA is
    then far above 0. Here it is the unbiased estimate of HSIC (Song et al. 2012, 'Feature Selection via
    Dependence Maximization', equation 5), under which it is about 0, now and then a little below. In feature
    space, without a matrix of N x N. nan for features that do not differ between faces.
    """
    return float(linear_ckas([first], [second])[0, 0])


def linear_ckas(firsts: Sequence[np.ndarray], seconds: Sequence[np.ndarray]) -> np.ndarray:
    """`linear_cka` of each of several features of N faces with each of several others, float64 (P, Q)."""
    firsts, seconds = list(map(_centred, firsts)), list(map(_centred, seconds))
    # once for each stage: for wide layers it takes long
    own_first, own_second = ([_unbiased_hsic(x, x) for x in features] for features in (firsts, seconds))
    own = np.outer(own_first, own_second)
    both = np.array([[_unbiased_hsic(first, second) for second in seconds] for first in firsts])
    return np.divide(both, np.sqrt(np.where(own > 0, own, 1)), out=np.full_like(both, np.nan), where=own > 0)


def _centred(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    return features - features.mean(axis=0)


def _unbiased_hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased HSIC of centred features, up to the factor 1 / (N (N - 3)), which cancels.

    With the diagonals of K and L set to 0 and columns centred, so that every row of K itself adds up to 0, the
    rows of K without diagonal add up to -|x_i|^2.
    """
    faces = len(first)
    x, y = (first**2).sum(axis=1), (second**2).sum(axis=1)
    trace = ((first.T @ second) ** 2).sum() - x @ y
    return float(trace + x.sum() * y.sum() / ((faces - 1) * (faces - 2)) - 2 * (x @ y) / (faces - 2))
