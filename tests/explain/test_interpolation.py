import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fertool.explain.interpolation import interpolate, interpolation_matrix


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_interpolation_is_pytorchs(pixels: int, cells: int) -> None:
    heat = torch.rand(1, 1, 1, cells, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = F.interpolate(heat, size=(1, pixels), mode="bilinear", align_corners=False)[0, 0, 0]
    assert np.allclose(interpolation_matrix(pixels, cells) @ heat[0, 0, 0].numpy(), theirs)


def test_maps_are_interpolated_as_pytorch_does() -> None:
    heat = torch.rand(3, 1, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = F.interpolate(heat, size=(48, 40), mode="bilinear", align_corners=False)[:, 0]
    assert np.allclose(interpolate(heat[:, 0].numpy(), (48, 40)), theirs)
