import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fertool.train.augment import (
    PRESETS,
    Augmentation,
    Draws,
    augment,
    draw_epoch,
    mix,
    move_boxes,
    move_masks,
)

SIDE = 24
MOVES = Augmentation(flip=True, shift=0.2)
TURNS = replace(MOVES, rotate_deg=180.0, crop=0.5, zoom=0.2)  # these take the bilinear look-up
EVERYTHING = replace(TURNS, jitter=0.2, noise=0.02, erase=1.0, mixup=0.4)


def chosen(faces: int = 1, **draws: Tensor) -> Draws:
    """The draws under which nothing happens, but for those given."""
    _, nothing = draw_epoch(faces, SIDE, 0, 1, Augmentation())
    return replace(nothing, **draws)


def synthetic_faces(number: int, *, colour: bool = False, seed: int = 0) -> Tensor:
    shape = (number, SIDE, SIDE, 3) if colour else (number, SIDE, SIDE)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# --- faces that are only moved ------------------------------------------------------------------------------


def test_each_face_is_moved_and_mirrored_by_its_own_draw() -> None:
    faces = torch.zeros(3, 5, 5, dtype=torch.uint8)
    faces[:, 2, 1] = 9
    draws = chosen(3, flips=torch.tensor([False, True, False]), shifts=torch.tensor([[0, 0], [0, 0], [1, 2]]))
    moved = augment(faces, draws, MOVES)
    assert moved.dtype == torch.uint8
    assert moved[0, 2, 1] == 9 and moved[1, 2, 3] == 9 and moved[2, 3, 3] == 9
    assert moved.count_nonzero() == 3


def test_edges_are_repeated_outwards() -> None:
    face = torch.arange(16.0).reshape(1, 4, 4)
    moved = augment(face, chosen(shifts=torch.tensor([[2, 0]])), MOVES)
    assert torch.equal(moved[0, 0], face[0, 0]) and torch.equal(moved[0, 1], face[0, 0])
    assert torch.equal(moved[0, 2], face[0, 0]) and torch.equal(moved[0, 3], face[0, 1])


@pytest.mark.parametrize("colour", [False, True])
def test_a_face_is_mirrored_before_it_is_shifted(colour: bool) -> None:
    faces = synthetic_faces(1, colour=colour)
    draws = chosen(flips=torch.tensor([True]), shifts=torch.tensor([[-3, 2]]))
    moved = augment(faces, draws, MOVES)
    assert torch.equal(moved[:, : SIDE - 3, 2:], faces.flip(2)[:, 3:, : SIDE - 2])


# --- faces that are turned, cropped ------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("quarter_turns", [-1, 1, 2])
def test_a_positive_angle_turns_anticlockwise(quarter_turns: int, colour: bool) -> None:
    faces = synthetic_faces(2, colour=colour)
    draws = chosen(2, angles=torch.full((2,), quarter_turns * math.pi / 2))
    turned = augment(faces, draws, TURNS)
    assert (turned - torch.rot90(faces, quarter_turns, (1, 2))).abs().max() < 1e-2


def test_a_face_is_turned_then_mirrored_then_shifted() -> None:
    faces = synthetic_faces(1)
    draws = chosen(
        flips=torch.tensor([True]), angles=torch.tensor([math.pi / 2]), shifts=torch.tensor([[2, 5]])
    )
    expected = torch.rot90(faces, 1, (1, 2)).flip(2)
    moved = augment(faces, draws, TURNS)
    assert (moved[:, 2:, 5:] - expected[:, : SIDE - 2, : SIDE - 5]).abs().max() < 1e-2


@given(seed=st.integers(0, 999), colour=st.booleans())
def test_turning_by_nothing_is_moving(seed: int, colour: bool) -> None:
    faces = synthetic_faces(4, colour=colour, seed=seed)
    _, draws = draw_epoch(4, SIDE, seed, 1, MOVES)
    looked_up = augment(faces, draws, replace(MOVES, crop=1e-6))
    assert (looked_up - augment(faces, draws, MOVES)).abs().max() < 1e-2


@pytest.mark.parametrize(("down", "right"), [(-0.25, -0.25), (-0.25, 0.25), (0.25, 0.25), (0.0, 0.0)])
def test_a_crop_of_half_the_side_fills_the_picture(down: float, right: float) -> None:
    line = torch.arange(SIDE, dtype=torch.float32)
    rows, columns = line[:, None].expand(SIDE, SIDE), line.expand(SIDE, SIDE)
    face = torch.stack([rows, columns, torch.zeros(SIDE, SIDE)], dim=2)
    cropped = augment(face[None], chosen(crops=torch.tensor([[0.5, down, right]])), TURNS)[0]
    # each output pixel is half as large: its centre lies this far down (right) in the face, in pixels
    top, left = (SIDE * (0.25 + way) for way in (down, right))
    assert torch.allclose(cropped[:, 3, 0], (top + line / 2 - 0.25).clamp(0, SIDE - 1), atol=1e-3)
    assert torch.allclose(cropped[3, :, 1], (left + line / 2 - 0.25).clamp(0, SIDE - 1), atol=1e-3)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_zoomed_face_is_as_much_larger_as_drawn_about_its_centre(factor: float) -> None:
    line = torch.arange(SIDE, dtype=torch.float32)
    face = line[:, None].expand(SIDE, SIDE)
    zoomed = augment(face[None], chosen(crops=torch.tensor([[1 / factor, 0.0, 0.0]])), Augmentation(zoom=0.3))
    centre = (SIDE - 1) / 2
    expected = (centre + (line - centre) / factor).clamp(0, SIDE - 1)  # edges are repeated
    assert torch.allclose(zoomed[0], expected[:, None].expand(SIDE, SIDE), atol=1e-3)


def test_zoom_enlarges_as_often_as_it_shrinks_within_its_strength() -> None:
    _, draws = draw_epoch(4000, SIDE, 0, 1, Augmentation(zoom=0.2))
    side, down, right = draws.crops.unbind(dim=1)
    factor = 1 / side
    assert 0.8 - 1e-6 <= factor.min() < 0.805 and 1.195 < factor.max() <= 1.2 + 1e-6
    assert factor.mean().item() == pytest.approx(1, abs=0.01)
    assert not down.any() and not right.any()


# --- what is done to pixels --------------------------------------------------------------------------------


def test_jitter_scales_about_the_mean_and_adds() -> None:
    faces = torch.tensor([[[100.0, 120.0], [140.0, 120.0]]]).expand(2, 2, 2)
    draws = chosen(2, contrast=torch.tensor([1.5, 1.0]), brightness=torch.tensor([0.0, 0.1]))
    changed = augment(faces, draws, Augmentation(jitter=0.5))
    assert changed[0].flatten().tolist() == [90, 120, 150, 120]
    assert torch.allclose(changed[1], faces[1] + 25.5)


def test_noise_is_normal_of_the_asked_for_deviation_and_differs_between_faces() -> None:
    faces = torch.full((16, SIDE, SIDE), 128, dtype=torch.uint8)
    augmentation = Augmentation(noise=0.05)
    _, draws = draw_epoch(16, SIDE, 3, 1, augmentation)
    added = augment(faces, draws, augmentation) - 128
    assert abs(added.mean().item()) < 1
    assert added.std().item() == pytest.approx(0.05 * 255, rel=0.05)
    stored = torch.corrcoef(added.flatten(1)) - torch.eye(16)
    assert stored.abs().max() < 0.3


@given(seed=st.integers(0, 999), colour=st.booleans())
def test_erasing_paints_one_rectangle_over(seed: int, colour: bool) -> None:
    faces, augmentation = synthetic_faces(4, colour=colour, seed=seed), Augmentation(erase=1.0)
    _, draws = draw_epoch(4, SIDE, seed, 1, augmentation)
    for face, erased in zip(faces.float(), augment(faces, draws, augmentation), strict=True):
        painted = (erased - face.mean()).abs() < 1e-3
        painted = painted.all(dim=2) if colour else painted
        rows, columns = painted.nonzero().unbind(dim=1)
        box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        kept = torch.ones_like(painted)
        kept[box] = False
        assert painted[box].all()
        assert torch.equal(erased[kept], face[kept])
        assert 1 / 80 < (~kept).float().mean() < 1 / 4  # of 1/50 to 1/5, edges to the nearest pixel


def test_erasing_happens_as_often_as_asked_for() -> None:
    _, draws = draw_epoch(4000, SIDE, 0, 1, Augmentation(erase=0.3))
    top, _, bottom, _ = draws.erased.unbind(dim=1)
    assert (bottom > top).float().mean().item() == pytest.approx(0.3, abs=0.03)


@given(seed=st.integers(0, 999), alpha=st.floats(0.1, 4))
def test_a_mix_lies_between_its_faces_by_the_drawn_share(seed: int, alpha: float) -> None:
    _, draws = draw_epoch(6, SIDE, seed, 1, Augmentation(mixup=alpha))
    assert ((draws.own_shares >= 0) & (draws.own_shares <= 1)).all()
    assert sorted(draws.partners.tolist()) == list(range(6))
    faces, partners = (
        synthetic_faces(6, colour=True, seed=seed),
        synthetic_faces(6, colour=True, seed=seed + 1),
    )
    mixed = mix(faces, partners, draws)
    for row, share in enumerate(draws.own_shares.tolist()):
        assert torch.allclose(mixed[row], share * faces[row] + (1 - share) * partners[row], atol=1e-3)
    assert torch.allclose(mixed + mix(partners, faces, draws), faces.float() + partners, atol=1e-3)


def test_without_mixup_a_mix_is_the_face_itself() -> None:
    _, draws = draw_epoch(3, SIDE, 0, 1, Augmentation())
    assert torch.equal(mix(synthetic_faces(3), synthetic_faces(3, seed=1), draws), synthetic_faces(3).float())


# --- all of it ---------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999),
    colour=st.booleans(),
    augmentation=st.builds(
        Augmentation,
        flip=st.booleans(),
        shift=st.sampled_from([0.0, 0.3]),
        rotate_deg=st.sampled_from([0.0, 180.0]),
        crop=st.sampled_from([0.0, 0.5]),
        zoom=st.sampled_from([0.0, 0.5]),
        jitter=st.sampled_from([0.0, 0.9]),
        noise=st.sampled_from([0.0, 0.5]),
        erase=st.sampled_from([0.0, 1.0]),
    ),
)
def test_values_stay_pixels_and_shapes_stay(seed: int, colour: bool, augmentation: Augmentation) -> None:
    faces = synthetic_faces(3, colour=colour, seed=seed)
    _, draws = draw_epoch(3, SIDE, seed, 1, augmentation)
    changed = augment(faces, draws, augmentation)
    assert changed.shape == faces.shape
    assert changed.min() >= 0 and changed.max() <= 255
    only_moved = not any(
        (
            augmentation.rotate_deg,
            augmentation.crop,
            augmentation.zoom,
            augmentation.jitter,
            augmentation.noise,
            augmentation.erase,
        )
    )
    assert changed.dtype == (torch.uint8 if only_moved else torch.float32)
    if augmentation.is_none:
        assert torch.equal(changed, faces)
    # in grey what a grey picture in colour becomes; noise is each channel's own
    if colour and not augmentation.noise:
        grey = synthetic_faces(3, seed=seed)
        in_colour = augment(grey[..., None].expand(-1, -1, -1, 3), draws, augmentation)
        assert torch.allclose(
            in_colour[..., 1].float(), augment(grey, draws, augmentation).float(), atol=1e-2
        )


@pytest.mark.parametrize("augmentation", [MOVES, EVERYTHING])
def test_what_a_face_meets_does_not_depend_on_its_batch(augmentation: Augmentation) -> None:
    faces = synthetic_faces(9)
    order, draws = draw_epoch(9, SIDE, 0, 1, augmentation)
    whole = augment(faces, draws, augmentation)
    for rows in order.split(4):
        assert torch.allclose(augment(faces[rows], draws[rows], augmentation), whole[rows])


def test_presets_grow() -> None:
    assert PRESETS["none"].is_none
    assert set(PRESETS) == {"none", "light", "strong"}
    for field in fields(Augmentation):
        strengths = [getattr(PRESETS[name], field.name) for name in ("none", "light", "strong")]
        assert strengths == sorted(strengths)


# --- draws -------------------------------------------------------------------------------------------------


def differing(some: Draws, others: Draws) -> set[str]:
    return {
        field.name
        for field in fields(Draws)
        if not torch.equal(getattr(some, field.name), getattr(others, field.name))
    }


@given(st.integers(0, 2**31), st.integers(1, 99), st.integers(1, 200))
def test_draws_are_repeatable_and_within_their_strengths(seed: int, epoch: int, faces: int) -> None:
    order, draws = draw_epoch(faces, 48, seed, epoch, EVERYTHING)
    again, draws_again = draw_epoch(faces, 48, seed, epoch, EVERYTHING)
    assert torch.equal(order, again) and not differing(draws, draws_again)
    assert sorted(order.tolist()) == list(range(faces))
    assert draws.shifts.abs().max() <= 10
    assert draws.angles.abs().max() <= math.pi
    side, down, right = draw_epoch(faces, 48, seed, epoch, replace(EVERYTHING, zoom=0.0))[1].crops.T
    zoomed, *ways = draws.crops.T
    assert ((side / zoomed - 1).abs() <= 0.2 + 1e-6).all()
    assert torch.equal(torch.stack(ways), torch.stack([down, right]))
    assert (side >= 0.5).all() and (side <= 1).all()
    assert (down.abs() <= (1 - side) / 2 + 1e-6).all() and (right.abs() <= (1 - side) / 2 + 1e-6).all()
    assert draws.brightness.abs().max() <= 0.2 and (draws.contrast - 1).abs().max() <= 0.2 + 1e-6
    assert (draws.erased >= 0).all() and (draws.erased <= 1 + 1e-6).all()


def test_draws_leave_the_random_state_of_the_layers_alone() -> None:
    before = torch.get_rng_state()
    _, draws = draw_epoch(9, SIDE, 0, 1, EVERYTHING)
    augment(synthetic_faces(9), draws, EVERYTHING)
    assert torch.equal(torch.get_rng_state(), before)


def test_epochs_and_seeds_differ() -> None:
    epochs = [draw_epoch(99, 48, seed, epoch, EVERYTHING) for seed in (0, 1) for epoch in (1, 2)]
    for number, (order, draws) in enumerate(epochs):
        for other_order, other_draws in epochs[:number]:
            assert not torch.equal(order, other_order)
            assert differing(draws, other_draws) == {field.name for field in fields(Draws)}


@pytest.mark.parametrize(
    ("strength", "changed"),
    [
        ({"flip": True}, {"flips"}),
        ({"shift": 0.2}, {"shifts"}),
        ({"rotate_deg": 15.0}, {"angles"}),
        ({"crop": 0.2}, {"crops"}),
        ({"zoom": 0.1}, {"crops"}),
        ({"jitter": 0.2}, {"brightness", "contrast"}),
        ({"noise": 0.2}, set()),
        ({"erase": 0.5}, {"erased"}),
        ({"mixup": 0.2}, {"own_shares"}),
    ],
)
@pytest.mark.parametrize("others", [Augmentation(), EVERYTHING])
def test_a_strength_changes_no_draws_but_its_own(
    strength: dict[str, float], changed: set[str], others: Augmentation
) -> None:
    option = next(iter(strength))
    with_it = replace(others, **strength)
    without = replace(others, **{option: type(strength[option])()})
    order, draws = draw_epoch(50, 48, 0, 1, with_it)
    order_without, draws_without = draw_epoch(50, 48, 0, 1, without)
    assert torch.equal(order, order_without)
    assert differing(draws, draws_without) == changed


# --- boxes follow ------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**20),
    row=st.integers(8, SIDE - 9),
    column=st.integers(8, SIDE - 9),
    augmentation=st.sampled_from(
        [MOVES, TURNS, replace(TURNS, flip=False, crop=0.0, zoom=0.0, rotate_deg=30)]
    ),
)
def test_a_box_moves_with_what_is_in_it(seed: int, row: int, column: int, augmentation: Augmentation) -> None:
    faces = torch.zeros(8, SIDE, SIDE, dtype=torch.uint8)
    faces[:, row, column] = 255
    _, draws = draw_epoch(8, SIDE, seed, 1, augmentation)
    boxes = torch.tensor([[column, row, column + 1, row + 1]], dtype=torch.float32).expand(8, 4)
    moved = move_boxes(boxes, draws, SIDE)
    for picture, (left, top, right, bottom) in zip(augment(faces, draws, augmentation), moved, strict=True):
        assert right > left and bottom > top
        centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
        if not (0.5 < centre_x < SIDE - 0.5 and 0.5 < centre_y < SIDE - 0.5):
            continue  # out of the picture
        brightest = picture.flatten().argmax().item()
        y, x = brightest // SIDE + 0.5, brightest % SIDE + 0.5
        # the pixel's centre, to the half pixel that a look-up between pixels may round away
        assert left - 0.5 <= x <= right + 0.5 and top - 0.5 <= y <= bottom + 0.5
        assert abs(x - centre_x) <= 1 and abs(y - centre_y) <= 1


def test_a_box_that_is_turned_is_the_upright_one_around_it() -> None:
    box = torch.tensor([[8.0, 10.0, 16.0, 14.0]])
    turned = move_boxes(box, chosen(angles=torch.tensor([math.pi / 2])), SIDE)
    assert torch.allclose(turned, torch.tensor([[10.0, 8.0, 14.0, 16.0]]), atol=1e-4)
    diagonal = move_boxes(box, chosen(angles=torch.tensor([math.pi / 4])), SIDE)
    reach = (8 + 4) / 2 / math.sqrt(2)
    assert torch.allclose(diagonal, 12 + torch.tensor([[-reach, -reach, reach, reach]]), atol=1e-4)
    grown = move_boxes(box, chosen(crops=torch.tensor([[0.5, 0.25, 0.0]])), SIDE)
    assert torch.allclose(grown, torch.tensor([[4.0, -4.0, 20.0, 4.0]]), atol=1e-4)


# --- masks follow -----------------------------------------------------------------------------------------

ELSEWHERE, MARK, VOID = range(3)
ALONE = [
    Augmentation(flip=True),
    Augmentation(shift=0.3),
    Augmentation(rotate_deg=180.0),
    Augmentation(crop=0.5),
    Augmentation(zoom=0.5),
    Augmentation(erase=1.0),
    Augmentation(flip=True, mixup=1.0),
]


def marked(rows: list[int], columns: list[int]) -> tuple[Tensor, Tensor]:
    """Black faces with one bright pixel, and their masks: the pixel's, the rest's, void."""
    faces = torch.zeros(len(rows), SIDE, SIDE, dtype=torch.uint8)
    faces[range(len(rows)), rows, columns] = 255
    mark = (faces > 0).float()
    return faces, torch.stack([1 - mark, mark, torch.zeros_like(mark)], dim=1)


places = st.lists(st.integers(0, SIDE - 1), min_size=4, max_size=4)


@given(
    seed=st.integers(0, 2**20),
    rows=places,
    columns=places,
    augmentation=st.sampled_from([*ALONE, MOVES, TURNS, replace(EVERYTHING, jitter=0.0, noise=0.0)]),
)
def test_the_mask_of_a_marked_pixel_lies_where_its_brightness_does(
    seed: int, rows: list[int], columns: list[int], augmentation: Augmentation
) -> None:
    faces, masks = marked(rows, columns)
    _, draws = draw_epoch(4, SIDE, seed, 1, augmentation)
    picture = augment(faces, draws, augmentation).float()
    moved = move_masks(masks, draws, augmentation, VOID)
    if augmentation.mixup:
        partners = draws.partners
        picture = mix(picture, picture[partners], draws)
        moved = mix(moved, moved[partners], draws)
    known = moved[:, VOID] == 0
    exact = not (augmentation.resamples or augmentation.mixup)
    difference = (picture / 255 - moved[:, MARK])[known].abs()
    assert not len(difference) or difference.max() <= (0 if exact else 1e-5)
    assert torch.allclose(moved.sum(dim=1), torch.ones(4, SIDE, SIDE), atol=1e-5)
    assert (moved >= 0).all()


def test_what_padding_made_is_void_and_nothing_else_is() -> None:
    _, masks = marked([0], [0])
    moved = move_masks(masks, chosen(shifts=torch.tensor([[2, -3]])), MOVES, VOID)[0]
    outside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    outside[:2] = outside[:, SIDE - 3 :] = True
    assert torch.equal(moved[VOID] == 1, outside)
    assert (moved[:VOID, outside] == 0).all()
    looked_up = move_masks(masks, chosen(shifts=torch.tensor([[2, -3]])), replace(MOVES, crop=1e-6), VOID)[0]
    assert torch.allclose(looked_up, moved, atol=1e-4)


def test_what_a_crop_enlarges_is_wholly_the_pictures_own() -> None:
    _, masks = marked([0], [0])
    moved = move_masks(masks, chosen(crops=torch.tensor([[0.5, -0.25, -0.25]])), TURNS, VOID)[0]
    assert (moved[VOID] == 0).all()
    assert moved[MARK, 0, 0] == 1


def test_what_erasing_painted_over_is_void() -> None:
    _, masks = marked([12], [12])
    erased = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    moved = move_masks(masks, chosen(erased=erased), Augmentation(erase=1.0), VOID)[0]
    inside = torch.zeros(SIDE, SIDE)
    inside[6:18, 6:18] = 1
    assert torch.equal(moved[VOID], inside)
    assert moved[MARK].sum() == 0 and masks[0, MARK].sum() == 1


def test_masks_of_faces_that_stay_stay() -> None:
    _, masks = marked([3], [4])
    assert move_masks(masks, chosen(), Augmentation(jitter=0.2, noise=0.1), VOID) is masks
