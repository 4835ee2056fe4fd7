import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional as F

from fertool.explain.explainer import rectify
from fertool.masks.regions import REGIONS
from fertool.score.suites.shares import (
    area_shares,
    region_ceilings,
    region_shares,
    region_weights,
    shares_and_ceilings,
)
from fertool.score.suites.truth import find_evidence

SIDE = 24
region_maps = arrays.arrays(np.uint8, (2, SIDE, SIDE), elements=st.integers(0, len(REGIONS) - 1))
grids = st.tuples(st.integers(1, 30), st.integers(1, 30))


def left_right(side: int = SIDE) -> np.ndarray:
    """Mouth on the left half, background on the right."""
    regions = np.zeros((1, side, side), dtype=np.uint8)
    regions[:, :, : side // 2] = REGIONS.index("mouth")
    return regions


@given(region_maps, grids, st.integers(0, 2**31))
def test_shares_add_up_to_one_and_equal_those_of_the_upsampled_map(regions, grid, seed) -> None:
    heat = np.random.default_rng(seed).random((2, *grid))
    shares = region_shares(heat, region_weights(regions, grid))
    up = F.interpolate(torch.from_numpy(heat)[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0].numpy()
    direct = np.stack(
        [(up * (regions == r)).sum((1, 2)) / up.sum((1, 2)) for r in range(len(REGIONS))], axis=1
    )
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.allclose(shares, direct)


@given(region_maps, grids)
def test_a_uniform_map_gives_each_region_its_area(regions, grid) -> None:
    shares = region_shares(np.ones((2, *grid)), region_weights(regions, grid))
    assert np.allclose(shares, area_shares(regions))


@given(region_maps, grids, st.integers(0, 2**31))
def test_no_map_passes_the_ceiling_and_one_reaches_it(regions, grid, seed) -> None:
    weights = region_weights(regions, grid)
    ceilings = region_ceilings(weights)
    heat = np.random.default_rng(seed).random((2, *grid)) ** 8
    assert (region_shares(heat, weights) <= ceilings + 1e-12).all()
    for code in range(len(REGIONS)):
        cells = np.zeros((2, grid[0] * grid[1]))
        best = (weights / weights.sum(axis=1, keepdims=True))[:, code].reshape(2, -1).argmax(axis=1)
        cells[[0, 1], best] = 1
        assert np.allclose(region_shares(cells.reshape(2, *grid), weights)[:, code], ceilings[:, code])


def test_a_map_of_one_cell() -> None:
    heat = np.zeros((1, SIDE, SIDE))
    heat[0, 3, 5] = 7
    shares = region_shares(heat, region_weights(left_right(), (SIDE, SIDE)))[0]
    assert shares[REGIONS.index("mouth")] == 1 and shares.sum() == 1


def test_a_map_of_two_cells_is_split_by_their_heat() -> None:
    heat = np.zeros((1, SIDE, SIDE))
    heat[0, 3, 5], heat[0, 3, 20] = 3, 1
    shares = region_shares(heat, region_weights(left_right(), (SIDE, SIDE)))[0]
    assert shares[REGIONS.index("mouth")] == pytest.approx(0.75)
    assert shares[REGIONS.index("background")] == pytest.approx(0.25)


def test_a_coarse_grid_spills_over_the_border() -> None:
    """2x2 cells: across, the heat falls from 1 at 1/4 of the side to 0 at 3/4; the left half has 7/8."""
    heat = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    side = 2000
    share = region_shares(heat, region_weights(left_right(side), (2, 2)))[0, REGIONS.index("mouth")]
    assert share == pytest.approx(7 / 8, abs=1e-3)


def test_a_map_of_zeros_has_no_shares() -> None:
    heat = np.stack([np.zeros((7, 7)), np.ones((7, 7))])
    shares = region_shares(heat, region_weights(np.repeat(left_right(), 2, axis=0), (7, 7)))
    assert np.isnan(shares[0]).all() and np.isfinite(shares[1]).all()


def test_negative_cells() -> None:
    heat = np.array([-2.0, 0.0, 1.0])
    assert rectify(heat, "drop").tolist() == [0, 0, 1]
    assert rectify(heat, "absolute").tolist() == [2, 0, 1]


@pytest.mark.parametrize("cells", [96, 112, 224])
def test_of_maps_finer_than_the_faces_ceilings_are_known(cells: int) -> None:
    """Some of their cells lie on no pixel of the faces."""
    regions = np.zeros((1, 48, 48), np.uint8)
    regions[0, :24], regions[0, 24:, :24] = 1, 2
    maps = np.random.default_rng(0).random((1, cells, cells))
    (shares,), ceilings = shares_and_ceilings([maps], regions)
    assert shares.sum() == pytest.approx(1) and (shares <= ceilings).all()
    assert ceilings[0].tolist() == [1, 1, 1, 0, 0, 0]
    evidence = find_evidence(maps, regions == 1)
    assert evidence["ceiling"] == pytest.approx([1]) and evidence["share"] == pytest.approx(shares[:, 1])
