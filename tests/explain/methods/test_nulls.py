import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.explain.methods.nulls import NULLS, centre, edges, random, swapped, uniform

FACES = np.random.default_rng(0).integers(0, 256, (10, 48, 48), dtype=np.uint8)
MAPS = np.random.default_rng(1).normal(size=(10, 7, 9)).astype(np.float32)
ROWS = np.arange(10)


@pytest.mark.parametrize("name", NULLS)
@pytest.mark.parametrize("colour", [False, True])
def test_shapes(name: str, colour: bool) -> None:
    faces = np.repeat(FACES[..., None], 3, axis=3) if colour else FACES
    maps = NULLS[name].make(faces[2:5], ROWS[2:5], MAPS)
    assert maps.dtype == np.float32
    assert maps.shape == ((3, 48, 48) if name in ("edges", "centre") else (3, 7, 9))
    assert name == "swapped" or (maps >= 0).all()


def test_uniform_gives_each_region_its_area() -> None:
    regions = np.random.default_rng(2).integers(0, 6, (7, 9))
    heat = uniform(FACES, ROWS, MAPS)[0]
    shares = [heat[regions == code].sum() / heat.sum() for code in range(6)]
    assert np.allclose(shares, [(regions == code).mean() for code in range(6)])


@given(st.integers(2, 200), st.data())
def test_swapped_is_a_permutation_that_leaves_no_face_its_own(count: int, data: st.DataObject) -> None:
    maps = np.arange(count, dtype=np.float32)[:, None, None]
    faces = np.zeros((count, 2, 2), dtype=np.uint8)
    other = swapped(faces, np.arange(count), maps)[:, 0, 0]
    assert sorted(other) == list(range(count))
    assert not np.any(other == np.arange(count))
    row = data.draw(st.integers(0, count - 1))
    assert swapped(faces[:1], np.array([row]), maps)[0, 0, 0] == other[row], "the same in any batch"


@pytest.mark.parametrize("name", NULLS)
def test_a_few_rows_at_a_time_they_are_the_same_bits(name: str) -> None:
    make, together = NULLS[name].make, NULLS[name].make(FACES, ROWS, MAPS)
    for size in (1, 3):
        parts = [
            make(FACES[start : start + size], ROWS[start : start + size], MAPS)
            for start in range(0, 10, size)
        ]
        assert np.array_equal(np.concatenate(parts), together)


def test_random_depends_on_the_row_and_not_on_the_batch() -> None:
    together = random(FACES, ROWS, MAPS)
    assert np.array_equal(together[3:7], random(FACES[3:7], ROWS[3:7], MAPS))
    assert np.array_equal(together, random(FACES[::-1], ROWS, MAPS)), "nor on the face"
    assert len(np.unique(together)) == together.size, "no two cells, no two rows alike"
    assert together.mean() == pytest.approx(0.5, abs=0.05)


def test_centre_is_symmetrical_and_greatest_in_the_middle() -> None:
    (heat,) = centre(FACES[:1], ROWS[:1], MAPS)
    assert np.array_equal(heat, heat.T) and np.allclose(heat, heat[::-1]) and np.allclose(heat, heat[:, ::-1])
    assert heat.argmax() in (23 * 48 + 23, 23 * 48 + 24, 24 * 48 + 23, 24 * 48 + 24)
    assert heat[24, 36] / heat[24, 24] == pytest.approx(np.exp(-0.5), rel=0.05), "a quarter of the side wide"


def test_edges_are_where_the_picture_changes() -> None:
    faces = np.full((2, 48, 48), 77, dtype=np.uint8)
    assert not edges(faces, ROWS[:2], MAPS).any()
    faces[1, :, 24:] = 177
    flat, step = edges(faces, ROWS[:2], MAPS)
    assert not flat.any()
    assert (step[:, 23:25] == 400).all(), "Sobel: 4 times the step, on both sides of it"
    assert not step[:, :23].any() and not step[:, 25:].any()
    turned = edges(np.ascontiguousarray(faces.transpose(0, 2, 1)), ROWS[:2], MAPS)
    assert np.array_equal(turned[1], step.T)
