import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fertool.masks.regions import BACKGROUND, REGIONS
from fertool.score.suites.dispersion import agreement_with
from fertool.train.guidance.forms import (
    EVIDENCE,
    FORMS,
    MapOnFace,
    background,
    background_shares,
    background_sum,
    regions,
    wanted_correlation,
    wanted_cosine,
)

SIDE = 12
VOID = len(REGIONS)


def masks_of(codes: Tensor) -> Tensor:
    """Planes of region codes (B, H, W), VOID among them."""
    return (codes[:, None] == torch.arange(VOID + 1)[:, None, None]).double()


def halves(right: int = REGIONS.index("mouth")) -> Tensor:
    """Background on the left half, another code on the right."""
    codes = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    codes[:, :, SIDE // 2 :] = right
    return masks_of(codes)


def on_halves(left: float, right: float) -> MapOnFace:
    heat = torch.zeros(1, SIDE, SIDE, dtype=torch.float64)
    heat[:, :, 0], heat[:, :, -1] = left / SIDE, right / SIDE
    return MapOnFace(heat, halves())


def some_maps(seed: int, count: int = 3, size: float = 1.0) -> MapOnFace:
    """Random maps over random regions, void and wanted maps among them."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, VOID + 1, (count, SIDE, SIDE), generator=generator)
    wanted = torch.rand(count, SIDE, SIDE, generator=generator) ** 4 * (codes != VOID)
    heat = torch.rand(count, SIDE, SIDE, generator=generator, dtype=torch.float64) ** 4
    return MapOnFace(size * heat, masks_of(codes), wanted.double())


# --- known answers -----------------------------------------------------------------------------------------


def test_known_answers() -> None:
    laid = on_halves(3, 9)
    assert background_sum(laid).item() == pytest.approx(3)
    assert background(laid).item() == pytest.approx((3 + EVIDENCE) / (12 + EVIDENCE))
    shares, empty = background_shares(laid)
    assert shares.item() == pytest.approx(0.25) and not empty
    to_mouth = regions({"mouth": 2.0})
    assert to_mouth(laid).item() == pytest.approx(-math.log(9 / (12 + EVIDENCE)), abs=1e-4)
    # of the five regions wanted by default only the mouth is in the picture
    assert FORMS["regions"](laid).item() == pytest.approx(to_mouth(laid).item())
    as_wanted = regions({"mouth": 3.0, "background": 1.0})(on_halves(300, 900))
    assert as_wanted.item() == pytest.approx(0, abs=1e-3)


def test_a_signed_map_is_summed_as_it_is() -> None:
    assert background_sum(on_halves(-3, 9)).item() == pytest.approx(-3)


@given(seed=st.integers(0, 2**20))
def test_the_cosine_is_the_scores(seed: int) -> None:
    generator = np.random.default_rng(seed)
    heat, wanted = generator.random((3, 5, 4)) ** 3, generator.random((3, SIDE, SIDE)) ** 3
    _, cosine = agreement_with(heat, wanted)
    masks = masks_of(torch.zeros(3, SIDE, SIDE, dtype=torch.long))
    losses = wanted_cosine(MapOnFace(1000 * torch.from_numpy(heat), masks, torch.from_numpy(wanted)))
    assert torch.allclose(1 - losses, torch.from_numpy(cosine), atol=1e-6)


def test_the_correlation_is_numpys() -> None:
    laid = some_maps(0, size=1000)
    for face, loss in enumerate(wanted_correlation(laid)):
        known = laid.void[face] == 0
        wanted = np.corrcoef(laid.heat[face][known], laid.wanted[face][known])[0, 1]
        assert 1 - loss.item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("form", [wanted_cosine, wanted_correlation])
def test_where_one_face_of_a_mix_is_void_the_other_ones_wish_counts_for_its_part(form) -> None:
    """As if the pixel were there as many times as it is known: here half as often as the others."""
    laid = some_maps(0, size=1000)
    half = torch.zeros_like(laid.void).bool()
    half[:, :, ::3] = True
    masks, wanted = laid.masks.clone(), laid.wanted.clone()
    masks[:, :VOID] *= torch.where(half, 0.5, 1)[:, None]
    masks[:, VOID] = 1 - masks[:, :VOID].sum(dim=1)
    wanted[half] /= 2  # as a mix of two halves has it, of which one is void
    mixed = replace(laid, masks=masks, wanted=wanted)
    twice = []
    for face in range(len(laid.heat)):
        times = torch.round(2 * (1 - masks[face, VOID])).long().flatten()
        heat, wish = (values[face].flatten().repeat_interleave(times) for values in (laid.heat, laid.wanted))
        if form is wanted_correlation:
            heat, wish = heat - heat.mean(), wish - wish.mean()
        twice.append(torch.nn.functional.cosine_similarity(heat, wish, dim=0))
    assert torch.allclose(1 - form(mixed), torch.stack(twice), atol=1e-6)


def test_a_map_that_is_the_wanted_one_costs_nothing_and_its_opposite_most() -> None:
    wanted = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
    masks = masks_of(torch.zeros(1, SIDE, SIDE, dtype=torch.long))
    for sign, form, cost in ((1, wanted_cosine, 0), (1, wanted_correlation, 0), (-1, wanted_correlation, 2)):
        loss = form(MapOnFace(sign * 100 * wanted, masks, wanted))
        assert loss.item() == pytest.approx(cost, abs=1e-6)


@pytest.mark.parametrize("grid", [(12, 12), (3, 4), (5, 1), (20, 7)])
def test_heat_on_regions_is_that_of_their_pixels_however_regions_are_parted(grid: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = some_maps(0).masks
    laid = MapOnFace(torch.randn(3, *grid, generator=generator, dtype=torch.float64), masks)
    expected = torch.stack([(laid.heat * masks[:, region]).sum(dim=(1, 2)) for region in range(VOID)], dim=1)
    assert torch.allclose(laid.region_sums, expected)
    two = torch.stack([masks[:, BACKGROUND], masks[:, 1:VOID].sum(dim=1), masks[:, VOID]], dim=1)
    merged = MapOnFace(laid.cells.abs(), two)
    for figure in (background, background_sum, lambda laid: background_shares(laid)[0]):
        assert torch.allclose(figure(merged), figure(replace(laid, cells=laid.cells.abs())))


# --- what holds for all maps -------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**20), scale=st.floats(0.1, 1))
def test_shrinking_never_lowers_the_background_share_nor_does_it_matter_to_a_large_map(seed, scale) -> None:
    for size in (1e-3, 1e-2, 1):
        laid = some_maps(seed, size=size)
        shrunk = replace(laid, cells=scale * laid.cells)
        assert (background(shrunk) >= background(laid) - 1e-12).all()
    large = some_maps(seed, size=100)
    for factor in (scale, 1 / scale):
        scaled = replace(large, cells=factor * large.cells)
        assert torch.allclose(background(scaled), background(large), atol=1e-3)


@given(seed=st.integers(0, 2**20))
def test_a_map_that_vanishes_costs_as_much_as_one_on_the_background(seed: int) -> None:
    laid = some_maps(seed)
    vanished = replace(laid, cells=0 * laid.cells)
    assert (background(vanished) == 1).all()
    assert background_shares(vanished)[1].all()
    on_background = replace(laid, cells=laid.masks[:, BACKGROUND])
    assert (background(on_background) == 1).all()
    assert (FORMS["regions"](vanished) > FORMS["regions"](laid)).all()
    assert (wanted_cosine(vanished) == 1).all() and (wanted_correlation(vanished) == 1).all()


@given(seed=st.integers(0, 2**20), form=st.sampled_from(list(FORMS)))
def test_what_is_void_counts_for_nothing(seed: int, form: str) -> None:
    laid = some_maps(seed)
    moved = replace(laid, cells=laid.cells + 7 * laid.void)
    assert torch.allclose(FORMS[form](moved), FORMS[form](laid))
    assert torch.allclose(background_shares(moved)[0], background_shares(laid)[0])


@pytest.mark.parametrize("form", FORMS)
def test_losses_and_their_gradients_are_finite_for_any_map(form: str) -> None:
    everything = some_maps(1)
    nothing = torch.zeros_like(everything.void)
    all_void = torch.zeros_like(everything.masks)
    all_void[:, VOID] = 1
    cells = everything.cells
    for dtype, heat, (masks, wanted) in product(
        (torch.float32, torch.float64),
        (0 * cells, 1e-30 * cells, 1e6 * cells, torch.ones_like(cells)),
        ((everything.masks, everything.wanted), (everything.masks, nothing), (all_void, nothing)),
    ):
        leaf = heat.to(dtype).requires_grad_()
        losses = FORMS[form](MapOnFace(leaf, masks.to(dtype), wanted.to(dtype)))
        assert torch.isfinite(losses).all()
        losses.sum().backward()
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    laid = some_maps(2, count=2)
    cells = (laid.cells + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(lambda cells: FORMS[form](replace(laid, cells=cells)), (cells,))


@pytest.mark.parametrize("form", FORMS)
def test_descending_lowers_it_for_each_face(form: str) -> None:
    laid = some_maps(3, size=0.1)
    cells = laid.cells.clone().requires_grad_()
    before = FORMS[form](replace(laid, cells=cells))
    (slope,) = torch.autograd.grad(before.sum(), cells)
    after = FORMS[form](replace(laid, cells=cells.detach() - 1e-4 * slope))
    assert (after < before).all()
