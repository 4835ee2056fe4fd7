import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fertool.masks.detectors.template import mean_face
from fertool.masks.landmarks import (
    BROWS,
    CHIN,
    EYES,
    MIRRORED,
    NOSE_BRIDGE,
    OUTER_LIPS,
    face_boxes,
    interocular_distance,
)
from fertool.masks.regions import (
    BACKGROUND,
    EYEBROWS,
    FACE_CONTOUR,
    MOUTH,
    NOSE_REGION,
    REGIONS,
    face_outline,
    most_covering,
    region_map,
    region_maps,
)
from fertool.masks.regions import EYES as EYES_REGION

SHAPE = (48, 48)


def moved(landmarks: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (landmarks - 24) @ turn.T * scale + 24 + shift


@st.composite
def faces(draw: st.DrawFn) -> np.ndarray:
    """Plausible landmarks: the mean face turned, narrowed as by a turned head, shaken."""
    seed = draw(st.integers(0, 2**32 - 1))
    face = mean_face(SHAPE) + np.random.default_rng(seed).normal(0, draw(st.floats(0, 1.5)), (68, 2))
    face = (face - 24) * [draw(st.floats(0.1, 1.1)), 1] + 24
    shift = (draw(st.floats(-12, 12)), draw(st.floats(-12, 12)))
    return moved(face, draw(st.floats(-np.pi, np.pi)), draw(st.floats(0.3, 2)), shift)


@given(face=faces(), height=st.integers(20, 100), width=st.integers(20, 100), margin=st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_regions_partition_the_picture(face: np.ndarray, height: int, width: int, margin: float) -> None:
    regions = region_map(face * [width / 48, height / 48], (height, width), margin)
    assert regions.shape == (height, width)
    assert regions.dtype == np.uint8
    assert sum(int((regions == code).sum()) for code in range(len(REGIONS))) == height * width


@pytest.mark.parametrize(("order", "winner"), [((2, 3, 5), 3), ((5, 3, 2), 5)])
def test_a_pixel_takes_what_covers_most_of_it_of_equals_the_first(
    order: tuple[int, ...], winner: int
) -> None:
    canvas = np.array([[2, 2, 3, 3], [2, 3, 5, 5]], np.uint8)
    assert most_covering(canvas, 2, order).tolist() == [[2, winner]]


@given(face=faces(), margin=st.floats(0.01, 0.1))
@settings(max_examples=40, deadline=None)
def test_a_larger_margin_takes_no_pixel_from_the_features(face: np.ndarray, margin: float) -> None:
    features = [EYES_REGION, EYEBROWS, NOSE_REGION, MOUTH]
    small = np.isin(region_map(face, SHAPE, margin), features)
    large = np.isin(region_map(face, SHAPE, 2 * margin), features)
    # a pixel may change from one feature to another; half covered ones may fall to either side
    assert (small & ~large).sum() <= 1


def test_each_region_lies_on_its_part_of_the_mean_face() -> None:
    face = mean_face(SHAPE)
    regions = region_map(face, SHAPE)

    def at(point: np.ndarray) -> int:
        return int(regions[int(point[1]), int(point[0])])

    assert at(face[36:42].mean(axis=0)) == at(face[42:48].mean(axis=0)) == EYES_REGION
    assert at(face[17:22].mean(axis=0)) == at(face[22:27].mean(axis=0)) == EYEBROWS
    assert at(face[30]) == NOSE_REGION
    assert at(face[OUTER_LIPS].mean(axis=0)) == MOUTH
    for cheek in ((face[48] + face[4]) / 2, (face[54] + face[12]) / 2):
        assert at(cheek) == FACE_CONTOUR
    forehead = face[BROWS].mean(axis=0) + 0.15 * (face[BROWS].mean(axis=0) - face[CHIN])
    assert at(forehead) == FACE_CONTOUR
    assert regions[0, 0] == regions[0, -1] == regions[-1, 0] == regions[-1, -1] == BACKGROUND


def test_regions_of_a_mirrored_face_are_the_mirrored_regions() -> None:
    face = mean_face(SHAPE) + np.random.default_rng(0).normal(0, 0.7, (68, 2))
    mirrored = face[MIRRORED] * [-1, 1] + [48, 0]
    differ = region_map(face, SHAPE) != region_map(mirrored, SHAPE)[:, ::-1]
    assert differ.sum() <= 5  # pixels that two regions cover by halves


def test_lids_belong_to_the_eyes_and_brows_have_thickness() -> None:
    side = 480
    face = mean_face((side, side))
    regions = region_map(face, (side, side), margin=0)
    iod = interocular_distance(face)
    upper_lid = face[37:39].mean(axis=0) - [0, 0.04 * iod]
    assert regions[int(upper_lid[1]), int(upper_lid[0])] == EYES_REGION
    column = regions[:, int(face[19, 0])]
    assert 0.03 * iod < (column[: int(face[37, 1])] == EYEBROWS).sum() < 0.12 * iod


def test_an_open_mouth_is_mouth() -> None:
    face = mean_face(SHAPE)
    face[[55, 56, 57, 58, 59, 65, 66, 67]] += [0, 6]
    inside = face[60:68].mean(axis=0)
    assert region_map(face, SHAPE)[int(inside[1]), int(inside[0])] == MOUTH


def circle_face(centre: np.ndarray, radius: float) -> np.ndarray:
    """Landmarks whose outer lips are 12 points of a circle and whose other features lie far outside."""
    face = mean_face(SHAPE) - 1000
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    face[OUTER_LIPS] = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return face


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_edges_are_right_to_half_a_pixel(margin: float) -> None:
    random = np.random.default_rng(1)
    for _ in range(40):
        centre, radius = random.uniform(18, 30, 2), random.uniform(4, 12)
        face = circle_face(centre, radius)
        inside = region_map(face, SHAPE, margin) == MOUTH
        polygon = face[OUTER_LIPS].astype(np.float32)
        growth = margin * float(interocular_distance(face))
        for row in range(48):
            for column in range(48):
                middle = (column + 0.5, row + 0.5)
                depth = cv2.pointPolygonTest(polygon, middle, True) + growth
                if abs(depth) > 0.5:
                    assert inside[row, column] == (depth > 0), (middle, depth)


def test_area_of_a_known_polygon() -> None:
    face = circle_face(np.array([24.0, 24.0]), 10)
    area = 0.5 * 12 * 10**2 * np.sin(2 * np.pi / 12)
    assert (region_map(face, SHAPE, 0) == MOUTH).sum() == pytest.approx(area, rel=0.03)


def test_regions_do_not_depend_on_the_pixels_they_are_drawn_at() -> None:
    fine = region_map(mean_face((384, 384)), (384, 384))
    coarse = region_map(mean_face(SHAPE), SHAPE)
    # the centre of each pixel, in the fine map, unless an edge runs close by
    for row in range(48):
        for column in range(48):
            near = fine[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            if (near == near[0, 0]).all():
                assert coarse[row, column] == near[0, 0]


def test_outline_is_jaw_then_forehead_by_one_rule() -> None:
    face = mean_face(SHAPE).astype(np.float64)
    outline = face_outline(face)
    assert outline.shape == (30, 2)
    np.testing.assert_allclose(outline[:17], face[:17])
    brows = face[BROWS].mean(axis=0)
    top = outline[17:, 1].min()
    assert top == pytest.approx(brows[1] - 0.237 * (face[CHIN, 1] - brows[1]), abs=1e-6)
    # closed without a jump at either end of the jaw
    gaps = np.linalg.norm(np.diff(outline, axis=0, append=outline[:1]), axis=1)
    assert gaps.max() < 0.4 * interocular_distance(face)


@given(face=faces(), angle=st.floats(-np.pi, np.pi), scale=st.floats(0.5, 3))
@settings(max_examples=30, deadline=None)
def test_outline_moves_with_the_face(face: np.ndarray, angle: float, scale: float) -> None:
    np.testing.assert_allclose(
        face_outline(moved(face, angle, scale, (3, -2))),
        moved(face_outline(face), angle, scale, (3, -2)),
        atol=1e-6,
    )


def test_forehead_is_face_and_takes_about_a_tenth_of_the_picture() -> None:
    face = mean_face(SHAPE)
    regions = region_map(face, SHAPE)
    above_brows = regions[: int(face[BROWS, 1].min())]
    assert 0.05 < (above_brows == FACE_CONTOUR).sum() / regions.size < 0.2


def test_region_maps_are_those_of_each_face() -> None:
    both = np.stack([mean_face(SHAPE), mean_face(SHAPE) * 0.8])
    maps = region_maps(both, SHAPE)
    np.testing.assert_array_equal(maps[1], region_map(both[1], SHAPE))
    assert (maps[0] != maps[1]).any()


def test_landmark_indices_lie_where_iBUG_has_them() -> None:  # noqa: N802
    face = mean_face(SHAPE)
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(68))
    assert face[36, 0] < face[39, 0] < face[NOSE_BRIDGE, 0] < face[42, 0] < face[45, 0]
    assert face[BROWS, 1].max() < face[EYES, 1].min() < face[30, 1] < face[51, 1] < face[57, 1]
    assert face[57, 1] < face[CHIN, 1] == face[:, 1].max()
    np.testing.assert_allclose(face[MIRRORED] * [-1, 1] + [48, 0], face, atol=0.01)
    x0, y0, x1, y1 = face_boxes(face)
    assert 0 < x0 < x1 < 48
    assert 0 < y0 < y1 < 48
