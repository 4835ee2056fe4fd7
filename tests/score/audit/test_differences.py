import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from fertool.score.audit.differences import accuracy_interval, paired_difference, unpaired_difference


def test_wilsons_interval_is_that_of_his_formula() -> None:
    """Newcombe 1998, 'Two-sided confidence intervals for the single proportion', table I: 81 of 263."""
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_newcombes_example_of_two_proportions() -> None:
    """Newcombe 1998, 'Interval estimation for the difference', table II, method 10: 56/70 less 48/80."""
    found = unpaired_difference((48, 80), (56, 70))
    assert found.difference == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_mcnemar_counts_the_faces_that_only_one_gets(answers: list[tuple[bool, bool]]) -> None:
    first, second = np.array(answers).T
    found, back = paired_difference(first, second), paired_difference(second, first)
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    both_tails = 2 * binom.cdf(min(lost, won), lost + won, 0.5) if lost + won else 1
    assert found.p == pytest.approx(min(1, both_tails)) and back.p == pytest.approx(found.p)
    assert found.difference == pytest.approx(second.mean() - first.mean())
    assert -1 <= found.interval[0] <= found.interval[1] <= 1
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_the_paired_interval_covers_the_true_difference() -> None:
    """200 pairs of claims on 300 faces: 95% of the intervals hold the difference, within what chance allows."""
    generator = np.random.default_rng(0)
    shares = [0.55, 0.1, 0.15, 0.2]  # both right, first alone, second alone, neither
    outcome = generator.choice(4, size=(200, 300), p=shares)
    held = []
    for row in outcome:
        found = paired_difference((row == 0) | (row == 1), (row == 0) | (row == 2))
        held.append(found.interval[0] <= 0.05 <= found.interval[1])
    assert 0.91 < np.mean(held) < 0.99


@pytest.mark.parametrize("counts", [((0, 10), (0, 10)), ((10, 10), (10, 10))])
def test_claims_that_are_alike_do_not_differ(counts) -> None:
    found = unpaired_difference(*counts)
    assert found.p == 1 and found.interval[0] < 0 < found.interval[1]
