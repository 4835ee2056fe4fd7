import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fertool.prepare.twins import TwinFigures, leaks, number_twins, twin_figures

which_face = st.lists(st.integers(0, 12), min_size=1, max_size=40).map(np.array)


@settings(deadline=None)
@given(which_face, st.booleans())
def test_equal_numbers_for_equal_pixels_only(which, colour):
    shape = (13, 4, 4, 3) if colour else (13, 4, 4)
    pool = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    groups = number_twins(pool[which])
    for group, face in zip(groups, which, strict=True):
        same = which == face
        assert (group == -1) == (same.sum() == 1)
        if group >= 0:
            np.testing.assert_array_equal(groups == group, same)
    seen = [group for group in dict.fromkeys(groups.tolist()) if group >= 0]
    assert seen == list(range(len(seen)))  # numbered as they first appear


def test_one_pixel_makes_no_twins():
    faces = np.zeros((2, 48, 48), np.uint8)
    assert number_twins(faces).tolist() == [0, 0]
    faces[1, 47, 47] = 1
    assert number_twins(faces).tolist() == [-1, -1]


def test_figures_known():
    groups = np.array([0, 0, 1, 1, 2, 2, 2, -1, -1])
    labels = np.array([3, 3, 4, 5, 6, 6, 6, 0, 1])
    splits = np.array(["train", "train", "train", "val", "train", "test", "test", "test", "val"])
    assert twin_figures(groups, labels, splits) == TwinFigures(
        groups=3, images=7, straddling=2, disagreeing=1, test_in_train=2
    )
    assert leaks(groups, splits).tolist() == [False, False, True, False, True, False, False, False, False]


def test_no_twins():
    groups = np.full(3, -1)
    splits = np.array(["train", "val", "test"])
    assert twin_figures(groups, np.arange(3), splits) == TwinFigures(0, 0, 0, 0, 0)
    assert not leaks(groups, splits).any()
