"""Coverage is shown on 1,000 simulated data sets at once, a column each, all on the same resamples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import f1_score, matthews_corrcoef

from fertool.score.statistics.intervals import Resampled, difference_interval, mean_interval, resample_means
from fertool.score.statistics.scales import CORRELATION, POSITIVE, PROPORTION, UNBOUNDED, Scale

SIMULATED = 1000
DRAWS = 1000  # half of the default: enough for limits, and the simulations take seconds


def coverage(limits, truth) -> float:
    low, high = limits
    return float(np.mean((low <= truth) & (truth <= high)))


def with_twins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values with every tenth image repeated, and their clusters."""
    clusters = np.arange(len(values))
    twins = np.arange(0, len(values), 10)
    return np.concatenate([values, values[twins]]), np.concatenate([clusters, twins])


@pytest.mark.parametrize("images", [55, 500])
@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, shape: rng.beta(0.8, 3, shape), 0.8 / 3.8),
        (lambda rng, shape: rng.random(shape) < 0.6, 0.6),
        (lambda rng, shape: rng.random(shape) < 0.9, 0.9),
    ],
    ids=["skewed share", "accuracy 0.6", "accuracy 0.9"],
)
def test_intervals_of_means_cover(images: int, twins: bool, draw, truth: float) -> None:
    values = draw(np.random.default_rng(1), (images, SIMULATED)).astype(float)
    values, clusters = with_twins(values) if twins else (values, np.arange(images))
    assert 0.93 <= coverage(mean_interval(values, clusters, draws=DRAWS), truth) <= 0.97


@pytest.mark.parametrize("images", [55, 500])
def test_intervals_of_lifts_cover(images: int) -> None:
    rng = np.random.default_rng(2)
    area = rng.beta(20, 100, (images, SIMULATED))
    share = 0.5 * area + 0.5 * rng.beta(0.8, 3, (images, SIMULATED))
    lift = resample_means(np.concatenate([share, area], axis=1), np.arange(images), draws=DRAWS).apply(
        lambda means: means[..., :SIMULATED] / means[..., SIMULATED:]
    )
    truth = (0.5 * 20 / 120 + 0.5 * 0.8 / 3.8) / (20 / 120)
    assert 0.93 <= coverage(lift.interval(), truth) <= 0.97


@pytest.mark.parametrize("images", [55, 500])
def test_intervals_of_mcc_cover(images: int) -> None:
    def mcc(means: np.ndarray) -> np.ndarray:
        tp, fp, fn, tn = np.moveaxis(means.reshape(*means.shape[:-1], 4, SIMULATED), -2, 0)
        return (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))

    rng = np.random.default_rng(3)
    cells = np.array([0.25, 0.15, 0.1, 0.5])
    outcome = rng.choice(4, p=cells, size=(images, SIMULATED))
    one_hot = np.concatenate([outcome == cell for cell in range(4)], axis=1).astype(float)
    resampled = resample_means(one_hot, np.arange(images), draws=DRAWS).apply(mcc)
    tp, fp, fn, tn = cells
    truth = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert 0.93 <= coverage(resampled.interval(), truth) <= 0.97


def test_intervals_over_one_class_cover() -> None:
    """The 55 faces of a class, in a split of 500: nan elsewhere."""
    values = np.random.default_rng(4).beta(0.8, 3, (500, SIMULATED))
    values[55:] = np.nan
    assert 0.93 <= coverage(mean_interval(values, np.arange(500), draws=DRAWS), 0.8 / 3.8) <= 0.97


def two_way(rng, seeds: int, images: int, seed_part: float, image_effect: np.ndarray) -> np.ndarray:
    """Seed + image + interaction; the seeds' variance is `seed_part` times that of a mean over images."""
    seed_effect = rng.normal(0, np.sqrt(seed_part * 2 / images), (seeds, 1, SIMULATED))
    return seed_effect + image_effect + rng.normal(0, 1, (seeds, images, SIMULATED))


@pytest.mark.parametrize("seed_part", [0, 1, 10, 100])
@pytest.mark.parametrize(("seeds", "most"), [(2, 0.995), (3, 0.985), (5, 0.975)])
def test_intervals_over_few_seeds_cover_and_err_on_the_wide_side(
    seed_part: float, seeds: int, most: float
) -> None:
    rng = np.random.default_rng(5)
    values = two_way(rng, seeds, 100, seed_part, rng.normal(0, 1, (100, SIMULATED)))
    assert 0.93 <= coverage(mean_interval(values, np.arange(100), draws=300), 0) <= most


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(1, 1), (2, 2), (2, 5), (3, 3)])
@pytest.mark.parametrize("seed_part", [(0, 0), (10, 10), (10, 0)])
def test_intervals_of_differences_cover(seeds_a: int, seeds_b: int, seed_part) -> None:
    rng = np.random.default_rng(6)
    image_effect = rng.normal(0, 3, (100, SIMULATED))
    a, b = (
        resample_means(
            two_way(rng, seeds, 100, part if seeds > 1 else 0, image_effect), np.arange(100), draws=300
        )
        for seeds, part in zip((seeds_a, seeds_b), seed_part, strict=True)
    )
    limits = difference_interval(a, b)
    assert 0.93 <= coverage(limits, 0) <= (0.97 if seeds_a == seeds_b == 1 else 0.998)
    if seeds_a == seeds_b == 1:
        # paired: the images' common effect, nine times the rest, is not in it
        assert np.median(limits[1] - limits[0]) == pytest.approx(2 * 1.98 * np.sqrt(2 / 100), rel=0.1)


def test_identical_twins_weigh_as_one_image() -> None:
    values = np.random.default_rng(7).beta(0.8, 3, 60)
    alone = mean_interval(values, np.arange(60))
    doubled = mean_interval(np.tile(values, 2), np.tile(np.arange(60), 2))
    assert np.allclose(alone, doubled)
    blind = mean_interval(np.tile(values, 2), np.arange(120))
    assert np.ptp(blind) < 0.8 * np.ptp(alone)


def test_the_limits_are_scipys_bca_at_large_n() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(8).exponential(size=1000)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="BCa", rng=0).confidence_interval
    low, high = mean_interval(values, np.arange(1000), draws=4000)
    assert (low[0], high[0]) == pytest.approx(tuple(theirs), abs=0.005)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_estimates_and_left_out_are_the_figures_themselves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 2, 30), rng.integers(0, 2, 30)
    cells = 2 * labels + predicted
    clusters = np.arange(30) // 2

    def measures(means: np.ndarray) -> np.ndarray:
        tn, fp, fn, tp = np.moveaxis(means, -1, 0)
        mcc = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return np.stack([2 * tp / (2 * tp + fp + fn), mcc], axis=-1)

    resampled = resample_means((cells[:, None] == np.arange(4)) * 1.0, clusters, draws=50).apply(measures)
    for rows, found in [(clusters >= 0, resampled.figures), (clusters != 3, resampled.left_out[3, 0])]:
        expected = [f1_score(labels[rows], predicted[rows]), matthews_corrcoef(labels[rows], predicted[rows])]
        assert np.allclose(np.nan_to_num(found), expected)


def test_uncounted_images_do_not_count() -> None:
    values = np.random.default_rng(9).random((40, 2))
    values[10:, 1] = np.nan
    resampled = resample_means(values, np.arange(40))
    assert resampled.figures == pytest.approx([values[:, 0].mean(), values[:10, 1].mean()])
    (_, low), (_, high) = resampled.interval()
    assert values[:10, 1].min() < low < values[:10, 1].mean() < high < values[:10, 1].max()


def test_one_cluster_has_no_interval() -> None:
    values = np.full((5, 3), np.nan)
    values[0, 0] = values[0, 1] = values[1, 1] = 0.5
    low, high = mean_interval(values, np.arange(5))
    assert np.isnan([low[0], high[0], low[2], high[2]]).all()
    assert low[1] == high[1] == 0.5
    assert np.isnan(mean_interval([1.0, 2.0], np.zeros(2, dtype=int))).all()


def test_draws_hang_on_the_seed_alone() -> None:
    values = np.random.default_rng(10).random((30, 4))
    first = resample_means(values, np.arange(30), seed=1)
    alone = resample_means(values[:, 1], np.arange(30), seed=1)
    assert np.allclose(first.draws[:, :, 1], alone.draws[:, :, 0], atol=1e-6)
    assert np.array_equal(first.draws, resample_means(values, np.arange(30), seed=1).draws)
    assert not np.array_equal(first.draws, resample_means(values, np.arange(30), seed=2).draws)


def accuracies(rng: np.random.Generator, p: float, spread: float, seeds: int, images: int) -> np.ndarray:
    """Faces recognised or not, (S, N, simulated): seeds' accuracies spread on the logit scale, faces hard for all."""
    recognised = expit(rng.normal(logit(p), spread, (seeds, 1, SIMULATED)))
    difficulty = (
        rng.normal(size=(1, images, SIMULATED)) + rng.normal(size=(seeds, images, SIMULATED))
    ) / 2**0.5
    return (norm.cdf(difficulty) < recognised).astype(float)


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.975), (3, 0.97), (5, 0.97)])
@pytest.mark.parametrize("p", [0.375, 0.9])
@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_intervals_of_accuracies_over_few_seeds_cover_and_lie_in_their_range(
    seeds: int, most: float, p: float, spread: float
) -> None:
    rng = np.random.default_rng(11)
    values = accuracies(rng, p, spread, seeds, 500)
    truth = expit(rng.normal(logit(p), spread, 200_000)).mean()
    limits = resample_means(values, np.arange(500), draws=200).interval(PROPORTION)
    assert 0.93 <= coverage(limits, truth) <= most
    assert (limits[0] >= 0).all() and (limits[1] <= 1).all()
    assert (limits[0] < values.mean(axis=(0, 1))).all() and (values.mean(axis=(0, 1)) < limits[1]).all()


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("scale", "middle", "spread"),
    [(PROPORTION, 0.05, 1.0), (PROPORTION, 0.375, 1.0), (PROPORTION, 0.9, 0.5), (POSITIVE, 1.0, 0.6)],
    ids=["5%", "38%", "90%", "lift"],
)
def test_intervals_cover_seeds_that_spread_far(
    seeds: int, scale: Scale, middle: float, spread: float
) -> None:
    """A thousand images of equal values a seed: what the seeds alone do; many simulations, as they cost nothing."""
    rng, simulated = np.random.default_rng(14), 20_000
    figures = scale.back(rng.normal(scale.to(np.array(middle)), spread, (seeds, simulated)))
    truth = scale.back(rng.normal(scale.to(np.array(middle)), spread, 1_000_000)).mean()
    same = np.broadcast_to(figures, (2, seeds, simulated))
    limits = Resampled(figures, same, same).interval(scale)
    assert 0.93 <= coverage(limits, truth) <= 0.97


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.98), (3, 0.97), (5, 0.97)])
def test_intervals_of_lifts_over_few_seeds_cover_and_are_above_0(seeds: int, most: float) -> None:
    rng = np.random.default_rng(12)
    seed_factors = np.exp(rng.normal(0, 0.3, (seeds, 1, SIMULATED)))
    values = seed_factors * rng.gamma(4, 1 / 4, (1, 300, SIMULATED))
    limits = resample_means(values, np.arange(300), draws=200).interval(POSITIVE)
    assert 0.93 <= coverage(limits, np.exp(0.3**2 / 2)) <= most
    assert (limits[0] > 0).all() and np.isfinite(limits[1]).all()


def test_an_impossible_interval_is_none_any_more() -> None:
    """Two seeds, 32 and 43% of 100 faces: 37.5 -+ 12.7 * 5.5 points were -32 to 107%."""
    values = np.stack([np.arange(100) < 32, np.arange(100) < 43]).astype(float)[:, :, None]
    resampled = resample_means(values, np.arange(100))
    (low,), (high,) = resampled.interval()
    assert low < 0 and high > 1
    (low,), (high,) = resampled.interval(PROPORTION)
    assert 0 < low < 0.1 and 0.85 < high < 1
    other = resample_means(1 - values, np.arange(100))
    (low,), (high,) = difference_interval(resampled, other, PROPORTION)
    assert low == -1 and high < 1


def test_scales_change_nothing_where_they_have_nothing_to_say() -> None:
    rng = np.random.default_rng(13)
    one = resample_means(rng.random((50, 2)), np.arange(50))
    assert np.array_equal(one.interval(PROPORTION), one.interval())
    several = resample_means(0.5 + 1e-3 * rng.normal(size=(5, 50, 2)), np.arange(50))
    assert np.allclose(several.interval([PROPORTION, POSITIVE]), several.interval(), atol=1e-6)
    sure = resample_means(np.ones((2, 50, 1)), np.arange(50))
    assert np.array_equal(sure.interval(PROPORTION), [[1], [1]])


@pytest.mark.parametrize(
    "scale", [UNBOUNDED, PROPORTION, POSITIVE, CORRELATION], ids=lambda scale: scale.name
)
def test_scales_are_inverted_and_differentiated(scale: Scale) -> None:
    figures = np.array([0.1, 0.5, 0.9])
    assert np.allclose(scale.back(scale.to(figures)), figures)
    step = 1e-6
    slopes = (scale.to(figures + step) - scale.to(figures - step)) / (2 * step)
    assert np.allclose(scale.slope(figures), slopes, rtol=1e-6)
