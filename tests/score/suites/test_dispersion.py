import numpy as np
import pytest
from scipy.ndimage import zoom
from scipy.spatial.distance import cosine as cosine_distance

from fertool.score.suites.dispersion import agreement_with, spread_of_maps

SHAPE = (48, 48)
INTEROCULAR_PX = np.array([20.0])


def with_cells(*cells: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((1, *SHAPE))
    for cell in cells:
        maps[0, *cell] = 1
    return maps


def test_a_uniform_map_has_all_the_entropy_there_is_and_one_cell_none() -> None:
    for grid in ((7, 7), SHAPE):
        (entropy,), _ = spread_of_maps(np.full((1, *grid), 0.3), SHAPE, INTEROCULAR_PX)
        assert entropy == pytest.approx(1)
    (entropy,), (extent,) = spread_of_maps(with_cells((10, 20)), SHAPE, INTEROCULAR_PX)
    assert entropy == 0 and extent == 0


def test_two_cells_have_the_entropy_of_a_coin_and_half_their_distance_as_extent() -> None:
    (entropy,), (extent,) = spread_of_maps(with_cells((10, 4), (40, 44)), SHAPE, INTEROCULAR_PX)
    assert entropy == pytest.approx(np.log(2) / np.log(48 * 48))
    assert extent == pytest.approx(50 / 2 / 20)  # 30 rows and 40 columns apart


def test_a_map_of_zeros_has_neither() -> None:
    maps = np.concatenate([np.zeros((1, 7, 7)), np.ones((1, 7, 7))])
    for measured in (
        *spread_of_maps(maps, SHAPE, np.array([20.0, 20.0])),
        *agreement_with(maps, np.ones((2, *SHAPE))),
    ):
        assert np.isnan(measured).tolist() == [True, False]


def test_energy_is_the_share_on_the_map_and_cosine_scipys() -> None:
    random = np.random.default_rng(0)
    heat, wanted = random.random((3, 12, 12)), random.random((3, *SHAPE)) ** 3
    energy, cosine = agreement_with(heat, wanted)
    for face in range(3):
        enlarged = zoom(heat[face], 4, order=1, mode="nearest", grid_mode=True)
        assert energy[face] == pytest.approx((enlarged * wanted[face]).sum() / enlarged.sum())
        assert 1 - cosine[face] == pytest.approx(cosine_distance(enlarged.ravel(), wanted[face].ravel()))
