import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fertool.masks.regions import BACKGROUND, REGIONS
from fertool.score.spread import agreement_with
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
from fertool.train.guidance.guide import laid_on
from fertool.train.guidance.planes import VOID, WANTED

SIDE = 12


def planes_of(codes: Tensor, wanted: Tensor | None = None) -> Tensor:
    """Planes of region codes (B, H, W), VOID among them, and of wanted maps."""
    planes = (codes[:, None] == torch.arange(VOID + 1)[:, None, None]).double()
    return planes if wanted is None else torch.cat([planes, wanted[:, None].double()], dim=1)


def halves(right: int = REGIONS.index("mouth")) -> Tensor:
    """Background on the left half, another code on the right."""
    codes = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    codes[:, :, SIDE // 2 :] = right
    return planes_of(codes)


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
    return MapOnFace(size * heat, planes_of(codes, wanted))


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
    planes = planes_of(torch.zeros(3, SIDE, SIDE, dtype=torch.long), torch.from_numpy(wanted))
    losses = wanted_cosine(laid_on(1000 * torch.from_numpy(heat), planes))
    assert torch.allclose(1 - losses, torch.from_numpy(cosine), atol=1e-6)


def test_the_correlation_is_numpys() -> None:
    laid = some_maps(0, size=1000)
    for face, loss in enumerate(wanted_correlation(laid)):
        known = laid.planes[face, VOID] == 0
        wanted = np.corrcoef(laid.heat[face][known], laid.planes[face, WANTED][known])[0, 1]
        assert 1 - loss.item() == pytest.approx(wanted, abs=1e-6)


def test_a_map_that_is_the_wanted_one_costs_nothing_and_its_opposite_most() -> None:
    wanted = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
    planes = planes_of(torch.zeros(1, SIDE, SIDE, dtype=torch.long), wanted)
    for sign, form, cost in ((1, wanted_cosine, 0), (1, wanted_correlation, 0), (-1, wanted_correlation, 2)):
        assert form(MapOnFace(sign * 100 * wanted, planes)).item() == pytest.approx(cost, abs=1e-6)


# --- what holds for all maps -------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**20), scale=st.floats(0.1, 1))
def test_shrinking_never_lowers_the_background_share_nor_does_it_matter_to_a_large_map(seed, scale) -> None:
    for size in (1e-3, 1e-2, 1):
        laid = some_maps(seed, size=size)
        shrunk = MapOnFace(scale * laid.heat, laid.planes)
        assert (background(shrunk) >= background(laid) - 1e-12).all()
    large = some_maps(seed, size=100)
    for factor in (scale, 1 / scale):
        assert torch.allclose(
            background(MapOnFace(factor * large.heat, large.planes)), background(large), atol=1e-3
        )


@given(seed=st.integers(0, 2**20))
def test_a_map_that_vanishes_costs_as_much_as_one_on_the_background(seed: int) -> None:
    laid = some_maps(seed)
    vanished = MapOnFace(0 * laid.heat, laid.planes)
    assert (background(vanished) == 1).all()
    assert background_shares(vanished)[1].all()
    on_background = MapOnFace(laid.planes[:, BACKGROUND], laid.planes)
    assert (background(on_background) == 1).all()
    assert (FORMS["regions"](vanished) > FORMS["regions"](laid)).all()
    assert (wanted_cosine(vanished) == 1).all() and (wanted_correlation(vanished) == 1).all()


@given(seed=st.integers(0, 2**20), form=st.sampled_from(list(FORMS)))
def test_what_is_void_counts_for_nothing(seed: int, form: str) -> None:
    laid = some_maps(seed)
    moved = MapOnFace(laid.heat + 7 * laid.planes[:, VOID], laid.planes)
    assert torch.allclose(FORMS[form](moved), FORMS[form](laid))
    assert torch.allclose(background_shares(moved)[0], background_shares(laid)[0])


@pytest.mark.parametrize("form", FORMS)
def test_losses_and_their_gradients_are_finite_for_any_map(form: str) -> None:
    everything = some_maps(1)
    nothing_wanted = everything.planes.clone()
    nothing_wanted[:, WANTED] = 0
    all_void = torch.zeros_like(everything.planes)
    all_void[:, VOID] = 1
    maps = [
        0 * everything.heat,
        1e-30 * everything.heat,
        1e6 * everything.heat,
        torch.ones_like(everything.heat),
    ]
    for dtype, heat, planes in product(
        (torch.float32, torch.float64), maps, (everything.planes, nothing_wanted, all_void)
    ):
        leaf = heat.to(dtype).requires_grad_()
        losses = FORMS[form](MapOnFace(leaf, planes.to(dtype)))
        assert torch.isfinite(losses).all()
        losses.sum().backward()
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    laid = some_maps(2, count=2)
    heat = (laid.heat + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(lambda heat: FORMS[form](MapOnFace(heat, laid.planes)), (heat,))


@pytest.mark.parametrize("form", FORMS)
def test_descending_lowers_it_for_each_face(form: str) -> None:
    laid = some_maps(3, size=0.1)
    heat = laid.heat.clone().requires_grad_()
    before = FORMS[form](MapOnFace(heat, laid.planes))
    (slope,) = torch.autograd.grad(before.sum(), heat)
    after = FORMS[form](MapOnFace(heat.detach() - 1e-4 * slope, laid.planes))
    assert (after < before).all()
