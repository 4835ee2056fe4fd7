from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fertool.masks.regions import REGIONS
from fertool.score.statistics.shapley import (
    ALL_SEEN,
    COALITIONS,
    NOTHING_SEEN,
    PAIRS,
    SEEN,
    interaction_matrix,
    shapley_matrix,
    variance_of_coalitions,
)

MOUTH, EYES = REGIONS.index("mouth"), REGIONS.index("eyes")
seeds = st.integers(0, 2**31)


def random_game(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=COALITIONS)


def additive_game(weights: np.ndarray) -> np.ndarray:
    return 3 + SEEN @ weights


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_shapley_values_are_the_mean_gain_over_all_orders_of_arrival(seed: int) -> None:
    game = random_game(seed)
    gains = np.zeros(len(REGIONS))
    orders = list(permutations(range(len(REGIONS))))
    for order in orders:
        members = 0
        for player in order:
            gains[player] += game[members + 2**player] - game[members]
            members += 2**player
    assert np.allclose(shapley_matrix() @ game, gains / len(orders))


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_shapley_values_add_up_to_what_all_regions_are_worth(seed: int) -> None:
    game = random_game(seed)
    assert (shapley_matrix() @ game).sum() == pytest.approx(game[ALL_SEEN] - game[NOTHING_SEEN])


def test_an_additive_game_has_its_weights_and_nothing_else() -> None:
    weights = np.array([0.5, -1, 0, 2, 3, 0.25])
    game = additive_game(weights)
    assert np.allclose(shapley_matrix() @ game, weights)
    assert np.allclose(interaction_matrix() @ game, 0)
    total, beyond = variance_of_coalitions(game)
    assert total == pytest.approx((weights**2).sum() / 4) and beyond == pytest.approx(0, abs=1e-12)


def test_two_regions_worth_something_only_together() -> None:
    game = (SEEN[:, EYES] & SEEN[:, MOUTH]).astype(float)
    values = shapley_matrix() @ game
    assert values[EYES] == pytest.approx(0.5) and values[MOUTH] == pytest.approx(0.5)
    interactions = dict(zip(PAIRS, interaction_matrix() @ game, strict=True))
    assert interactions.pop((EYES, MOUTH)) == pytest.approx(1)
    assert np.allclose(list(interactions.values()), 0)
    total, beyond = variance_of_coalitions(
        game
    )  # 1/4 of coalitions have both: 3/16, of which 1/16 is the product
    assert total == pytest.approx(3 / 16) and beyond == pytest.approx(1 / 16)


def test_one_region_that_stands_in_for_another_has_a_negative_interaction() -> None:
    game = (SEEN[:, EYES] | SEEN[:, MOUTH]).astype(float)
    assert (interaction_matrix() @ game)[PAIRS.index((EYES, MOUTH))] == pytest.approx(-1)


def test_parity_is_nothing_but_interaction() -> None:
    game = (SEEN.sum(axis=1) % 2).astype(float)
    total, beyond = variance_of_coalitions(game)
    assert beyond == pytest.approx(total)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_the_additive_part_is_the_least_squares_fit(seed: int) -> None:
    game = random_game(seed)
    design = np.column_stack([np.ones(COALITIONS), SEEN])
    residual = game - design @ np.linalg.lstsq(design, game, rcond=None)[0]
    total, beyond = variance_of_coalitions(game)
    assert total == pytest.approx(game.var()) and beyond == pytest.approx((residual**2).mean())
