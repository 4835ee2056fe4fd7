import numpy as np
import pytest

from fertool.masks.action_units import LANDMARKS, action_unit_maps, has_action_units
from fertool.masks.landmark_heatmaps import SPREAD_IOD, landmark_heatmaps
from fertool.masks.landmarks import MIRRORED, interocular_distance
from fertool.prepare.emotions import EMOTIONS


def points_apart(interocular_px: float = 50.0) -> np.ndarray:
    """One face of which only the eyes are in the picture, so far apart from centre to centre."""
    landmarks = np.full((1, 68, 2), -1000.0)
    landmarks[0, 36:42] = (20.5, 30.5)
    landmarks[0, 42:48] = (20.5 + interocular_px, 30.5)
    assert interocular_distance(landmarks) == pytest.approx(interocular_px)
    return landmarks


def test_a_landmark_is_a_gaussian_on_its_pixel() -> None:
    """SPREAD_IOD inter-ocular distances, here 4 pixels: column, then row."""
    (heat,) = landmark_heatmaps(points_apart(4 / SPREAD_IOD), (48, 80))
    assert heat.dtype == np.float32 and heat[30, 20] == heat[30, 70] == heat.max() == 1
    assert heat[30, 24] == heat[34, 20] == pytest.approx(np.exp(-0.5))
    assert heat[34, 16] == pytest.approx(np.exp(-1))


def test_a_map_is_the_largest_of_its_points() -> None:
    landmarks = points_apart(8.0)
    left, right = (landmark_heatmaps(landmarks, (48, 80), [point])[0] for point in (36, 45))
    (both,) = landmark_heatmaps(landmarks, (48, 80), [36, 45])
    assert np.array_equal(both, np.maximum(left, right))
    assert not landmark_heatmaps(landmarks, (48, 80), []).any()


def test_both_sides_of_a_face_move_alike() -> None:
    for unit, points in LANDMARKS.items():
        assert {MIRRORED[point] for point in points} == set(points), f"unit {unit}"


def test_an_emotion_shows_where_its_units_are() -> None:
    """Happiness in cheeks, lip corners and parted lips (6, 12, 25); surprise in brows, upper lids and jaw."""
    random = np.random.default_rng(0)
    landmarks = random.uniform(2, 94, (1, 68, 2)).round() + 0.5
    at = {point: tuple(landmarks[0, point, ::-1].astype(int)) for point in range(68)}
    (happy,), (surprise,) = (action_unit_maps([name], landmarks, (96, 96)) for name in ("happy", "surprise"))
    assert all(happy[at[point]] == 1 for point in (48, 54, 36, 45, 41, 46, 62, 66))
    assert all(surprise[at[point]] == 1 for point in (17, 21, 22, 26, 37, 44, 57, 8))
    assert all(happy[at[point]] < 1 for point in (17, 21, 22, 26, 8, 27, 33))
    assert all(surprise[at[point]] < 1 for point in (48, 54, 36, 45, 27, 33))


def test_neutral_faces_and_strangers_show_nothing() -> None:
    landmarks = np.random.default_rng(0).uniform(0, 48, (3, 68, 2))
    maps = action_unit_maps(["neutral", "bored", "sad"], landmarks, (48, 48))
    assert maps.any(axis=(1, 2)).tolist() == [False, False, True]
    assert [name for name in EMOTIONS if not has_action_units(name)] == ["neutral"]
    assert not has_action_units("bored")
