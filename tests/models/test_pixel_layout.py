import pytest
import torch

from fertool.models.pixel_layout import to_pixels, to_planes


@pytest.mark.parametrize(("stored", "planes"), [((2, 4, 3), (2, 1, 4, 3)), ((2, 4, 3, 3), (2, 3, 4, 3))])
def test_a_picture_comes_back_from_its_planes(stored: tuple[int, ...], planes: tuple[int, ...]) -> None:
    pixels = torch.arange(torch.Size(stored).numel()).view(stored)
    assert to_planes(pixels).shape == planes
    assert torch.equal(to_planes(pixels)[1, -1], pixels[1] if pixels.ndim == 3 else pixels[1, :, :, -1])
    assert torch.equal(to_pixels(to_planes(pixels)), pixels)
