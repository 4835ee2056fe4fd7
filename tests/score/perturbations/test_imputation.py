import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import spsolve

from fertool.score.perturbations.imputation import impute

NEIGHBOURS = {  # Rong et al. 2022
    (down, across): 1 / 12 if down and across else 1 / 6
    for down in (-1, 0, 1)
    for across in (-1, 0, 1)
    if down or across
}


def exactly(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Each missing pixel equals the weighted mean of its neighbours: the sparse system, solved directly."""
    height, width = picture.shape
    number = np.full(picture.shape, -1)
    number[missing] = np.arange(missing.sum())
    matrix, right = {}, np.zeros(missing.sum())
    for row, column in np.argwhere(missing):
        equation, total = number[row, column], 0.0
        for (down, across), weight in NEIGHBOURS.items():
            there = row + down, column + across
            if 0 <= there[0] < height and 0 <= there[1] < width:
                total += weight
                if missing[there]:
                    matrix[equation, number[there]] = -weight
                else:
                    right[equation] += weight * picture[there]
        matrix[equation, equation] = total
    places = np.array(list(matrix)).T
    system = csr_matrix((list(matrix.values()), places))
    imputed = picture.copy()
    imputed[missing] = spsolve(system, right)
    return imputed


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(17, 23), (24, 24)])
@pytest.mark.parametrize("patchy", [True, False])
def test_equals_the_direct_solution(share: float, shape: tuple[int, int], patchy: bool) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (3, *shape))
    heat = rng.random((3, *shape))
    if patchy:  # one connected hole around the middle
        heat = heat / 10 - np.hypot(*(np.indices(shape) - np.array(shape).reshape(2, 1, 1) / 2))
    missing = heat >= np.quantile(heat, 1 - share, axis=(1, 2), keepdims=True)
    imputed = impute(torch.from_numpy(pictures), torch.from_numpy(missing), tolerance=1e-3).numpy()
    exact = np.stack([exactly(*both) for both in zip(pictures, missing, strict=True)])
    assert np.abs(imputed - exact).max() < 0.02
    rough = impute(torch.from_numpy(pictures), torch.from_numpy(missing)).numpy()
    assert np.abs(rough - exact).max() < 1.5 and np.abs(rough - exact)[missing].mean() < 0.2


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_known_pixels_stay_and_missing_ones_lie_between_them(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pictures, missing = rng.uniform(50, 200, (2, 12, 9)), rng.random((2, 12, 9)) < share
    missing[:, 0, 0] = False
    imputed = impute(torch.from_numpy(pictures), torch.from_numpy(missing)).numpy()
    assert np.allclose(imputed[~missing], pictures[~missing])
    for picture, original, hole in zip(imputed, pictures, missing, strict=True):
        assert picture.min() >= original[~hole].min() - 0.5 and picture.max() <= original[~hole].max() + 0.5


def test_colours_are_imputed_one_by_one() -> None:
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.uniform(0, 255, (2, 10, 10, 3)))
    missing = torch.from_numpy(rng.random((2, 10, 10)) < 0.5)
    imputed = impute(pictures, missing, tolerance=1e-3)
    for colour in range(3):
        assert torch.allclose(imputed[..., colour], impute(pictures[..., colour], missing, 1e-3), atol=0.01)


def test_nothing_missing_and_nothing_known() -> None:
    pictures = torch.full((2, 8, 8), 40.0)
    missing = torch.zeros(2, 8, 8, dtype=torch.bool)
    missing[1] = True
    imputed = impute(pictures, missing)
    assert (imputed[0] == 40).all() and torch.allclose(imputed[1], torch.tensor(127.5))
