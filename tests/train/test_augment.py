import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.train.augment import augment, draw_epoch


def test_augment_moves_and_mirrors_each_face_by_its_own_draw() -> None:
    faces = torch.zeros(3, 5, 5, dtype=torch.uint8)
    faces[:, 2, 1] = 9
    moved = augment(faces, torch.tensor([False, True, False]), torch.tensor([[0, 0], [0, 0], [1, 2]]))
    assert moved.dtype == torch.uint8
    assert moved[0, 2, 1] == 9 and moved[1, 2, 3] == 9 and moved[2, 3, 3] == 9
    assert moved.count_nonzero() == 3


def test_edges_are_repeated_outwards() -> None:
    face = torch.arange(16.0).reshape(1, 4, 4)
    moved = augment(face, torch.tensor([False]), torch.tensor([[2, 0]]))
    assert torch.equal(moved[0, 0], face[0, 0]) and torch.equal(moved[0, 1], face[0, 0])
    assert torch.equal(moved[0, 2], face[0, 0]) and torch.equal(moved[0, 3], face[0, 1])


@given(st.integers(0, 2**31), st.integers(1, 99), st.integers(1, 200))
def test_draws_depend_on_seed_epoch_and_row_alone(seed: int, epoch: int, faces: int) -> None:
    draws = draw_epoch(faces, 48, seed, epoch, flip=True, shift=0.1)
    again = draw_epoch(faces, 48, seed, epoch, flip=True, shift=0.1)
    assert torch.equal(draws.order, again.order) and torch.equal(draws.shifts, again.shifts)
    assert sorted(draws.order.tolist()) == list(range(faces))
    assert draws.shifts.abs().max() <= 5


def test_epochs_and_seeds_differ() -> None:
    orders = [
        draw_epoch(99, 48, seed, epoch, flip=True, shift=0.1).order for seed in (0, 1) for epoch in (1, 2)
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(orders) for b in orders[:i])


def test_switched_off_it_changes_nothing() -> None:
    faces = torch.randint(0, 256, (8, 6, 6, 3), dtype=torch.uint8)
    draws = draw_epoch(8, 6, 0, 1, flip=False, shift=0)
    assert torch.equal(augment(faces, draws.flips, draws.shifts), faces)
