import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import kstest

from fertool.score.statistics.contrasts import (
    DETECTION_LIMIT,
    PERMUTATIONS,
    Comparison,
    compare_all,
    holm,
    log_ratios,
    sign_flip_p_values,
)
from fertool.score.statistics.intervals import mean_interval

REGION_CODES = [5, 2, 0]


def drawn_shares(rng, images: int, alpha=(8, 3, 2, 1, 1, 3)) -> np.ndarray:
    return rng.dirichlet(alpha, images)


def compare_two(
    a: np.ndarray, b: np.ndarray, clusters: np.ndarray, contrasts: list[int], **settings
) -> Comparison:
    """Two runs compared."""
    (comparison,) = compare_all({"a": a, "b": b}, clusters, contrasts, **settings)
    return comparison


@pytest.mark.parametrize("images", [55, 500])
@pytest.mark.parametrize("columns", [1, 5], ids=["contrast", "omnibus"])
def test_p_values_are_uniform_under_the_null(images: int, columns: int) -> None:
    """1,000 simulated comparisons, all on the same flips."""
    rng = np.random.default_rng(1)
    heavy = rng.standard_t(3, (1000, images, columns))
    if columns > 1:  # whitened, as compare_all does
        heavy = np.linalg.svd(heavy, full_matrices=False)[0]
    p = sign_flip_p_values(list(heavy), permutations=5000)
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.03 < np.mean(p <= 0.05) < 0.07


def test_a_comparisons_p_values_are_uniform_under_the_null() -> None:
    """The whole way from shares with zeros and twins; many runs that differ by chance alone."""
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(60), [2] * 10 + [1] * 50)
    found = []
    for _ in range(250):
        both = np.where(rng.random((2, 70, 6)) < 0.1, 0, rng.dirichlet([2] * 6, (2, 70)))
        both /= both.sum(axis=-1, keepdims=True)
        both[:, 1:20:2] = both[:, 0:20:2]  # twins have the same maps
        found.append(compare_two(*both, clusters, REGION_CODES, permutations=500, draws=2))
    for p in (
        [comparison.omnibus_p for comparison in found],
        [comparison.contrasts[1].p for comparison in found],
    ):
        assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean([min(one.p_holm for one in comparison.contrasts) <= 0.05 for comparison in found]) < 0.09


def test_twins_are_no_evidence_of_their_own() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, 40)
    once, doubled = sign_flip_p_values([differences[:, None], 2 * differences[:, None]])
    assert once == doubled
    shares = drawn_shares(np.random.default_rng(4), 80)
    a, b = shares[:40], shares[40:]
    alone = compare_two(a, b, np.arange(40), REGION_CODES)
    twins = compare_two(*(np.tile(side, (2, 1)) for side in (a, b)), np.tile(np.arange(40), 2), REGION_CODES)
    assert [contrast.p for contrast in twins.contrasts] == [contrast.p for contrast in alone.contrasts]
    assert twins.omnibus_p == alone.omnibus_p


def test_known_answer() -> None:
    """Ten differences of one sign: of 2^10 flips two are as large, whatever they are."""
    p = sign_flip_p_values([np.full((10, 1), 0.1), np.zeros((10, 1))], permutations=100_000)
    assert p[0] == pytest.approx(2 / 2**10, rel=0.3)
    assert p[1] == 1


def test_the_correction_can_reach_significance() -> None:
    rng = np.random.default_rng(5)
    a, b = drawn_shares(rng, 300), drawn_shares(rng, 300, (3, 3, 6, 1, 1, 8))
    comparison = compare_two(a, b, np.arange(300), REGION_CODES)
    smallest = 1 / (1 + PERMUTATIONS)
    assert comparison.omnibus_p == smallest
    for contrast in comparison.contrasts:
        assert contrast.p == smallest
        assert contrast.p_holm == pytest.approx(len(REGION_CODES) * smallest)
        assert contrast.p_holm < 0.05
        assert contrast.difference == pytest.approx(
            a[:, contrast.region].mean() - b[:, contrast.region].mean()
        )
        assert contrast.low < contrast.difference < contrast.high
        assert contrast.low > 0 or contrast.high < 0
    assert len(REGION_CODES) * 6 * smallest < 0.05  # all pairs of four runs


def test_the_omnibus_test_sees_what_the_contrasts_do_not() -> None:
    rng = np.random.default_rng(6)
    a, b = drawn_shares(rng, 300), drawn_shares(rng, 300, (8, 3, 2, 1.6, 0.4, 3))
    comparison = compare_two(a, b, np.arange(300), REGION_CODES)
    assert comparison.omnibus_p < 0.001
    assert min(contrast.p_holm for contrast in comparison.contrasts) > 0.05


def test_a_run_compared_with_itself_differs_in_nothing() -> None:
    shares = drawn_shares(np.random.default_rng(7), 50)
    comparison = compare_two(shares, shares, np.arange(50), REGION_CODES)
    assert comparison.omnibus_p == 1
    assert all((c.difference, c.low, c.high, c.p, c.p_holm) == (0, 0, 0, 1, 1) for c in comparison.contrasts)


def test_the_interval_of_two_single_runs_is_that_of_the_paired_differences() -> None:
    rng = np.random.default_rng(8)
    a, b = drawn_shares(rng, 90), drawn_shares(rng, 90)
    (contrast,) = compare_two(a, b, np.arange(90), [5]).contrasts
    assert (contrast.low, contrast.high) == pytest.approx(
        [limit.item() for limit in mean_interval((a - b)[:, 5], np.arange(90))], abs=1e-5
    )


def test_networks_may_differ_where_methods_need_not() -> None:
    """Two seeds a side that spread widely: a small p-value for the networks, an interval that holds 0."""
    rng = np.random.default_rng(9)
    seeds = [drawn_shares(rng, 400, (8, 3, 2, 1, 1, mouth)) for mouth in (2, 6, 4, 10)]
    comparison = compare_two(np.stack(seeds[:2]), np.stack(seeds[2:]), np.arange(400), [5])
    (contrast,) = comparison.contrasts
    assert comparison.seeds == (2, 2)
    assert contrast.p < 0.001
    assert contrast.low < 0 < contrast.high


def test_images_without_shares_are_left_out_of_all_runs() -> None:
    rng = np.random.default_rng(10)
    runs = {name: drawn_shares(rng, 60) for name in "abc"}
    whole = compare_all({name: shares[10:] for name, shares in runs.items()}, np.arange(50), REGION_CODES)
    runs["a"][:4] = runs["c"][4:10] = np.nan
    assert compare_all(runs, np.arange(60), REGION_CODES) == whole
    assert [comparison.names for comparison in whole] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert {comparison.images for comparison in whole} == {50}
    runs["b"][:] = np.nan
    assert compare_all(runs, np.arange(60), REGION_CODES) == []


def test_holm_known_answer() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(arrays.arrays(float, 6, elements=st.floats(0.0001, 1)))
def test_holm_keeps_order_and_lies_between_p_and_bonferroni(p: np.ndarray) -> None:
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(6 * p, 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@given(st.integers(0, 2**31))
def test_log_ratios_do_not_change_with_the_replacement_of_others(seed: int) -> None:
    shares = np.random.default_rng(seed).dirichlet([3] * 5)
    shares = np.append(shares, 0)
    logs = log_ratios(shares)
    assert logs.sum() == pytest.approx(0, abs=1e-9)
    kept = shares >= DETECTION_LIMIT
    assert logs[kept] - logs[0] == pytest.approx(np.log(shares[kept] / shares[0]))
    assert np.isfinite(logs).all()


def test_four_runs_with_all_intervals_and_pairs_are_quick() -> None:
    rng = np.random.default_rng(11)
    runs = {name: drawn_shares(rng, 3589) for name in "abcd"}
    start_s = time.process_time()
    compare_all(runs, np.arange(3589), REGION_CODES)
    mean_interval(np.concatenate(list(runs.values()), axis=1), np.arange(3589))
    assert time.process_time() - start_s < 10  # about 1 s: a wide margin for slow machines
