from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.explain.interpolation import interpolate
from fertool.explain.methods.perturbation import occlusion, rise
from fertool.models.classifier import FaceClassifier, InputSpec

TOP, LEFT, SIDE = 20, 8, 8


class PatchMean(nn.Module):
    """One logit: the mean grey of a patch."""

    def __init__(self, top: int, left: int, side: int) -> None:
        super().__init__()
        self.rows, self.columns = slice(top, top + side), slice(left, left + side)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :, self.rows, self.columns].mean(dim=(2, 3))


def looking_at(top: int, left: int, side: int, size: int = 48) -> FaceClassifier:
    return FaceClassifier(
        PatchMean(top, left, side), "cnn", InputSpec(size, 1, (0.0,), (1 / 255,)), cam_layer=""
    )


@pytest.fixture
def bright_patch() -> Tensor:
    """A dark face, but for the patch."""
    face = torch.full((48, 48), 40.0)
    face[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = 200.0
    return face[None]


@pytest.mark.parametrize(("patch", "stride"), [(8, 4), (5, 3), (1, 1), (20, 8)])
def test_occlusion_takes_what_it_covers(patch: int, stride: int, bright_patch: Tensor, fixed) -> None:
    """Covering a share of a bright patch with the face's mean takes that share of what it stands above it."""
    model = looking_at(TOP, LEFT, SIDE)
    maps = occlusion(model, bright_patch, fixed(0), patch=patch, stride=stride).heatmaps[0, 0]
    cells = -(-48 // stride)
    assert maps.shape == (cells, cells)
    above = 200 - bright_patch.mean()

    def overlap(cell: int, start: int) -> int:
        first = cell * stride + stride // 2 - patch // 2
        return max(0, min(first + patch, start + SIDE) - max(first, start))

    expected = torch.tensor(
        [[overlap(i, TOP) * overlap(j, LEFT) for j in range(cells)] for i in range(cells)]
    )
    assert torch.allclose(maps, above * expected / SIDE**2, atol=1e-3)


@pytest.mark.parametrize(
    ("side", "patch", "stride"), [(48, 8, 4), (50, 8, 4), (48, 8, 9), (90, 16, 8), (48, 20, 7)]
)
def test_occlusion_lies_where_the_pixel_is_whatever_the_sides(
    side: int, patch: int, stride: int, fixed: Callable
) -> None:
    for place in range(patch, side - patch, 3):  # away from the border no patch is cut
        face = torch.zeros(1, side, side)
        face[0, place, place] = 255.0
        maps = occlusion(
            looking_at(place, place, 1, side), face, fixed(0), patch=patch, stride=stride
        ).heatmaps
        heat = interpolate(maps[0].clamp(min=0).numpy(), (side, side))[0]
        centre = (heat.sum(axis=1) * np.arange(side)).sum() / heat.sum()
        assert abs(centre - place) <= stride / 2


def test_a_stride_beyond_the_face_is_one_cell_in_its_middle(fixed: Callable) -> None:
    face = torch.zeros(1, 48, 48)
    face[0, 24, 24] = 255.0
    maps = occlusion(looking_at(24, 24, 1), face, fixed(0), patch=8, stride=100).heatmaps
    assert maps.shape == (1, 1, 1, 1) and maps.item() > 200


def test_rise_finds_the_patch(fixed) -> None:
    """Seeing the one pixel that counts is worth 4/9 of what it stands above the mean.

    4/9 is the variance of a bilinear mask under a uniform shift, (2/3)^2, beside that of a mask of 0 and 1.
    """
    face = torch.full((1, 48, 48), 40.0)
    face[0, 20, 12] = 240.0
    maps = rise(looking_at(20, 12, 1), face, fixed(0), masks=4000).heatmaps[0, 0]
    worth = float(240 - face.mean())
    assert maps.argmax() == 20 * 48 + 12
    assert maps[20, 12] == pytest.approx(worth * 4 / 9, rel=0.1)
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    far = ((rows - 20).abs() > 16) | ((columns - 12).abs() > 16)  # masks have cells of 8 pixels
    assert maps[far].abs().max() < 0.1 * worth


def test_a_face_that_is_flat_has_no_worth(fixed) -> None:
    flat = torch.full((2, 48, 48), 90, dtype=torch.uint8)
    for explain, options in ((occlusion, {}), (rise, {"masks": 20})):
        assert explain(looking_at(4, 4, 9), flat, fixed(0), **options).heatmaps.abs().max() < 1e-3


def test_an_offset_of_the_logit_does_not_move_the_maps(bright_patch: Tensor, fixed) -> None:
    model = looking_at(TOP, LEFT, SIDE)
    shifted = FaceClassifier(
        nn.Sequential(model.network, Add(1000.0)), "cnn", model.input_spec, cam_layer="0"
    )
    for explain, options in ((occlusion, {}), (rise, {"masks": 50})):
        assert torch.allclose(
            explain(model, bright_patch, fixed(0), **options).heatmaps,
            explain(shifted, bright_patch, fixed(0), **options).heatmaps,
            atol=1e-2,
        )


class Add(nn.Module):
    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, logits: Tensor) -> Tensor:
        return logits + self.offset


def test_colour_faces_are_covered_with_their_own_mean_colour(bright_patch: Tensor, fixed) -> None:
    model, colour = looking_at(TOP, LEFT, SIDE), bright_patch[..., None].expand(-1, -1, -1, 3)
    for explain, options in ((occlusion, {}), (rise, {"masks": 20})):
        grey = explain(model, bright_patch, fixed(0), **options).heatmaps
        assert torch.allclose(explain(model, colour, fixed(0), **options).heatmaps, grey, atol=1e-2)


def test_patches_are_in_pixels_of_the_face_whatever_the_network_takes(built, faces, predicted) -> None:
    for name, size in (("cnn", None), ("test_resnet", 64)):
        model = built(name, size)
        assert occlusion(model, faces[:1], predicted, patch=12, stride=12).heatmaps.shape == (1, 1, 4, 4)
        assert rise(model, faces[:1], predicted, masks=2).heatmaps.shape == (1, 1, 48, 48)


@pytest.mark.parametrize(
    ("explain", "options"),
    [
        (occlusion, {"patch": 0}),
        (occlusion, {"stride": 0}),
        (rise, {"masks": 1}),
        (rise, {"cells": 0}),
        (rise, {"keep": 1.0}),
    ],
)
def test_options_that_are_none(explain, options, built, faces, predicted) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        explain(built("cnn"), faces, predicted, **options)
