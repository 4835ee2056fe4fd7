import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fertool.masks.detectors.template import mean_face
from fertool.masks.landmarks import EYES, OUTER_LIPS
from fertool.masks.regions import BACKGROUND, region_maps
from fertool.score.perturbations.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    corrupt,
    inside_polygon,
    move_boxes,
    move_region_maps,
)
from fertool.score.perturbations.seeded_draws import normal_draws, uniform_draws

SIDE = 48
FACES = 12
MOVING = [name for name, corruption in CORRUPTIONS.items() if corruption.origin]
each_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)


def some_faces(count: int = FACES, side: int = SIDE, colour: bool = False) -> Tensor:
    """Smooth random pictures with all brightnesses."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3 if colour else 1, 9, 9, generator=generator) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 255)
    faces = fine.round().to(torch.uint8).permute(0, 2, 3, 1)
    return faces if colour else faces[..., 0]


def some_landmarks(count: int = FACES, side: int = SIDE) -> Tensor:
    return torch.from_numpy(mean_face((side, side))).expand(count, 68, 2)


def spoil(
    corruption: Corruption, level: int, faces: Tensor, rows: Tensor | None = None, seed: int = 0
) -> Tensor:
    rows = torch.arange(len(faces)) if rows is None else rows
    return corrupt(corruption, level, faces, some_landmarks(len(faces), faces.shape[1]), rows, seed)


@each_corruption
@pytest.mark.parametrize("colour", [False, True])
def test_shape_and_type_stay_and_strength_grows(corruption: Corruption, colour: bool) -> None:
    faces = some_faces(colour=colour)
    spoilt = [spoil(corruption, level, faces) for level in range(1, SEVERITIES + 1)]
    assert all(
        level_faces.shape == faces.shape and level_faces.dtype == torch.uint8 for level_faces in spoilt
    )
    damage = [(level_faces.float() - faces.float()).pow(2).mean().item() for level_faces in spoilt]
    assert 0 < damage[0] < damage[-1]
    if (
        corruption.name != "shift"
    ):  # beyond the size of its blobs a shifted random picture is just another one
        assert damage == sorted(damage)


@each_corruption
def test_a_face_is_spoilt_alike_in_any_batch_and_differently_by_another_seed(corruption: Corruption) -> None:
    faces = some_faces()
    rows = torch.arange(100, 100 + FACES)
    together = spoil(corruption, 3, faces, rows)
    order = torch.tensor([7, 2, 9])
    assert torch.equal(spoil(corruption, 3, faces[order], rows[order]), together[order])
    if corruption.name in ("noise", "brightness", "rotation", "shift", "box"):
        assert not torch.equal(spoil(corruption, 3, faces, rows, seed=1), together)


@each_corruption
def test_the_same_at_twice_the_size(corruption: Corruption) -> None:
    """Severities are shares: a face of twice the side is spoilt as much, seen at the smaller side."""
    if corruption.name in ("noise", "jpeg"):
        pytest.skip("noise is in each pixel, and JPEG's blocks have eight of them")
    small, large = some_faces(), some_faces(side=2 * SIDE)
    spoilt = spoil(corruption, 3, large).float()
    averaged = torch.nn.functional.avg_pool2d(spoilt[:, None], 2)[:, 0]
    difference = (averaged - spoil(corruption, 3, small).float()).abs().mean()
    damage = (spoil(corruption, 3, small).float() - small.float()).abs().mean()
    assert difference < 0.35 * damage


def test_known_answers() -> None:
    grey = torch.full((400, SIDE, SIDE), 128, dtype=torch.uint8)
    noisy = spoil(CORRUPTIONS["noise"], 2, grey).float()
    assert noisy.std() == pytest.approx(0.08 * 255, rel=0.01) and noisy.mean() == pytest.approx(128, abs=0.1)
    lit = spoil(CORRUPTIONS["brightness"], 1, grey)
    assert set(lit.unique().tolist()) == {round(128 - 25.5), round(128 + 25.5)}
    assert 0.4 < (lit[:, 0, 0] > 128).float().mean() < 0.6
    faces = some_faces()
    flat = spoil(CORRUPTIONS["contrast"], 2, faces).float()
    assert torch.allclose(flat.std(dim=(1, 2)), 0.4 * faces.float().std(dim=(1, 2)), rtol=0.02)
    assert torch.allclose(flat.mean(dim=(1, 2)), faces.float().mean(dim=(1, 2)), atol=0.1)


def test_a_shift_moves_by_whole_pixels_and_repeats_edges() -> None:
    faces = some_faces()
    shifted = spoil(CORRUPTIONS["shift"], 4, faces)
    reach = round(0.2 * SIDE)
    for face, moved in zip(faces.numpy(), shifted.numpy(), strict=True):
        padded = np.pad(face, reach + 1, mode="edge")
        found = [
            (down, right)
            for down in range(2 * reach + 3)
            for right in range(2 * reach + 3)
            if np.array_equal(padded[down : down + SIDE, right : right + SIDE], moved)
        ]
        assert len(found) == 1
        assert np.hypot(*(np.array(found[0]) - reach - 1)) == pytest.approx(0.2 * SIDE, abs=1)


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("level", range(1, SEVERITIES + 1))
def test_region_maps_move_with_the_face(name: str, level: int) -> None:
    """A picture whose brightness is its region: what is seen after moving it is what the moved map says."""
    corruption = CORRUPTIONS[name]
    maps = torch.from_numpy(region_maps(some_landmarks().numpy(), (SIDE, SIDE)))
    rows = torch.arange(FACES)
    moved = move_region_maps(corruption, level, maps, rows, seed=0)
    assert moved.dtype == torch.uint8 and not torch.equal(moved, maps)
    for region in (2, 5):
        seen = spoil(corruption, level, (maps == region).to(torch.uint8) * 255)
        agree = ((seen > 127) == (moved == region)).float().mean()
        assert agree > 0.99


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("level", range(1, SEVERITIES + 1))
@pytest.mark.parametrize("shape", [(48, 48), (40, 64)])
def test_boxes_move_with_the_face(name: str, level: int, shape: tuple[int, int]) -> None:
    """The box of a moved rectangle is the rectangle's moved box, to the pixel in which it ends."""
    corruption, rows = CORRUPTIONS[name], torch.arange(FACES)
    left, top, right, bottom = shape[1] // 2 - 6, shape[0] // 2 - 5, shape[1] // 2 + 4, shape[0] // 2 + 8
    maps = torch.zeros(FACES, *shape, dtype=torch.uint8)
    maps[:, top:bottom, left:right] = 5
    boxes = torch.tensor([[left, top, right, bottom]], dtype=torch.float32).expand(FACES, 4)
    moved_boxes = move_boxes(corruption, level, boxes, shape, rows, seed=0)
    moved_maps = move_region_maps(corruption, level, maps, rows, seed=0)
    for box, moved in zip(moved_boxes, moved_maps, strict=True):
        y, x = torch.nonzero(moved == 5).unbind(dim=1)
        seen = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        inside = box.clamp(min=0).minimum(torch.tensor([shape[1], shape[0]] * 2))
        assert (seen - inside).abs().max() < (1e-3 if name == "shift" else 1.5)
    assert not torch.allclose(moved_boxes, boxes, atol=0.1)


def test_what_a_moved_region_map_has_from_outside_is_background() -> None:
    maps = torch.full((FACES, SIDE, SIDE), 5, dtype=torch.uint8)
    moved = move_region_maps(CORRUPTIONS["shift"], 5, maps, torch.arange(FACES), seed=0)
    outside = (moved == BACKGROUND).float().mean(dim=(1, 2))
    assert (outside > 0.2).all() and (outside < 0.5).all()


def test_other_corruptions_leave_region_maps_where_they_are() -> None:
    maps = torch.randint(0, 6, (FACES, SIDE, SIDE), dtype=torch.uint8)
    for name, corruption in CORRUPTIONS.items():
        if name not in MOVING:
            assert torch.equal(move_region_maps(corruption, 5, maps, torch.arange(FACES), 0), maps)
            boxes = torch.rand(FACES, 4)
            assert torch.equal(move_boxes(corruption, 5, boxes, (SIDE, SIDE), torch.arange(FACES), 0), boxes)


@pytest.mark.parametrize(
    ("name", "covered", "free"), [("sunglasses", EYES, OUTER_LIPS), ("mask", OUTER_LIPS, EYES)]
)
@pytest.mark.parametrize("angle", [0, 30])
@pytest.mark.parametrize("level", range(1, SEVERITIES + 1))
def test_occluders_sit_where_they_belong(
    name: str, covered: slice, free: slice, angle: int, level: int
) -> None:
    """On an upright face and on a tilted one: pixels at the covered points change, those at the free ones do not."""
    turn = np.radians(angle)
    matrix = torch.tensor([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], dtype=torch.float32)
    side = 4 * SIDE  # so that a point is in its own pixel
    landmarks = (some_landmarks(1, side) - side / 2) @ matrix * 0.8 + side / 2
    grey = torch.full((1, side, side), 100, dtype=torch.uint8)
    spoilt = corrupt(CORRUPTIONS[name], level, grey, landmarks, torch.tensor([0]), 0)[0]

    def changed(points: Tensor) -> Tensor:
        columns, rows = points.long().unbind(dim=1)
        return spoilt[rows, columns] != 100

    # the very corners of an eye may look out beside a small lens
    assert changed(landmarks[0, covered]).float().mean() > 0.8
    assert not changed(landmarks[0, free]).any()


def test_a_box_covers_its_share_and_lies_on_the_face() -> None:
    grey = torch.zeros(200, SIDE, SIDE, dtype=torch.uint8)
    landmarks = some_landmarks(200)
    low, high = landmarks[0].amin(dim=0), landmarks[0].amax(dim=0)
    for level, area in enumerate(CORRUPTIONS["box"].severities, start=1):
        covered = spoil(CORRUPTIONS["box"], level, grey) > 0
        assert covered.float().sum(dim=(1, 2)).mean() == pytest.approx(
            area * float((high - low).prod()), rel=0.05
        )
        rows, columns = covered.any(dim=0).any(dim=1), covered.any(dim=0).any(dim=0)
        for seen, start, end in ((columns, low[0], high[0]), (rows, low[1], high[1])):
            where = seen.nonzero()[:, 0] + 0.5
            assert where.min() >= start - 1 and where.max() <= end + 1


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=3, max_size=7),
)
@settings(max_examples=30, deadline=None)
def test_inside_a_polygon_as_matplotlib_has_it(corners: list[tuple[float, float]]) -> None:
    from matplotlib.path import Path

    points = np.stack(np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5), axis=-1).reshape(-1, 2)
    hull = np.array(corners)
    centre = hull.mean(axis=0)
    hull = hull[np.argsort(np.arctan2(*(hull - centre).T))]  # no edge crosses another
    ours = inside_polygon(torch.tensor(hull, dtype=torch.float64)[None], (20, 20))[0].numpy().reshape(-1)
    inner, outer = (Path(hull).contains_points(points, radius=radius) for radius in (-1e-3, 1e-3))
    certain = inner == outer
    assert (ours == inner)[certain].all()


def test_keyed_draws_are_uniform_and_normal_and_hang_on_all_of_their_keys() -> None:
    from scipy.stats import kstest

    rows = torch.arange(500)
    numbers = uniform_draws("a", 0, rows, 200)
    assert numbers.min() > 0 and numbers.max() < 1
    assert kstest(numbers.flatten().numpy(), "uniform").pvalue > 0.001
    assert kstest(normal_draws("a", 0, rows, 201).flatten().numpy(), "norm").pvalue > 0.001
    others = [
        uniform_draws("b", 0, rows, 200),
        uniform_draws("a", 1, rows, 200),
        numbers.roll(1, 0),
        numbers.roll(1, 1),
    ]
    for other in others:
        assert abs(np.corrcoef(numbers.flatten(), other.flatten())[0, 1]) < 0.015
    assert torch.equal(uniform_draws("a", 0, rows[[400, 3]], 50), numbers[[400, 3]][:, :50])
