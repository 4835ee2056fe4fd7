import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.train.schedule import PLATEAU_EPOCHS, PLATEAU_FACTOR, SCHEDULES, rate_factor


def factors(schedule: str, steps: int, warmup_steps: int = 0) -> list[float]:
    return [rate_factor(schedule, step, steps, warmup_steps, []) for step in range(steps)]


@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(1, 300),
    warmup_steps=st.integers(0, 400),
    val_losses=st.lists(st.floats(0, 5), max_size=30),
)
def test_the_rate_stays_between_nothing_and_its_peak(
    schedule: str, steps: int, warmup_steps: int, val_losses: list[float]
) -> None:
    for step in range(steps):
        assert 0 <= rate_factor(schedule, step, steps, warmup_steps, val_losses) <= 1


def test_constant_stays() -> None:
    assert factors("constant", 5) == [1] * 5


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_warm_up_rises_in_a_line_and_reaches_the_peak(schedule: str) -> None:
    assert factors(schedule, 20, warmup_steps=4)[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_cosine_falls_from_the_peak_through_its_half_to_nearly_nothing() -> None:
    falling = factors("cosine", 104, warmup_steps=4)[4:]
    assert falling[0] == 1
    assert falling[50] == pytest.approx(0.5)
    assert falling[25] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert 0 < falling[-1] < 1e-3
    assert falling == sorted(falling, reverse=True)


def test_one_cycle_follows_pytorchs() -> None:
    ours = factors("one-cycle", 100)
    assert ours[0] == pytest.approx(1 / 25) and ours[30] == max(ours) == 1 and ours[-1] < 0.01
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1, total_steps=100)
    rates = []
    for _ in range(100):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        if len(rates) < 100:
            theirs.step()
    # theirs is at its peak a step earlier and ends at nothing
    assert max(abs(our - their) for our, their in zip(ours[1:], rates, strict=False)) < 0.03


def test_one_cycle_needs_no_warm_up() -> None:
    assert factors("one-cycle", 50) == factors("one-cycle", 50, warmup_steps=20)


@pytest.mark.parametrize(
    ("val_losses", "plateaus"),
    [
        ([], 0),
        ([1, 0.9, 0.8, 0.7, 0.6], 0),
        ([1, 1, 1], 0),  # the first is better than none
        ([1, 1, 1, 1], 1),
        ([1, 1.1, 0.9, 1, 0.95, 0.8], 0),  # waits that end in time
        ([1, 2, 2, 0.9, 1, 1, 1], 1),
        ([1] * 7, 2),
        ([1] * 4 + [0.5] + [1] * 3, 2),
        ([1, math.nan, math.nan, math.nan], 1),
    ],
)
def test_plateau_falls_after_each_three_flat_epochs(val_losses: list[float], plateaus: int) -> None:
    assert PLATEAU_EPOCHS == 3
    assert rate_factor("plateau", 70, 100, 5, val_losses) == pytest.approx(PLATEAU_FACTOR**plateaus)
