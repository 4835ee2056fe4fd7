import pytest
import torch

from fertool.models.pixel_layout import channels_first, stored_layout


@pytest.mark.parametrize(("stored", "shape"), [((2, 4, 3), (2, 1, 4, 3)), ((2, 4, 3, 3), (2, 3, 4, 3))])
def test_an_image_comes_back_from_the_other_layout(stored: tuple[int, ...], shape: tuple[int, ...]) -> None:
    pixels = torch.arange(torch.Size(stored).numel()).view(stored)
    assert channels_first(pixels).shape == shape
    assert torch.equal(channels_first(pixels)[1, -1], pixels[1] if pixels.ndim == 3 else pixels[1, :, :, -1])
    assert torch.equal(stored_layout(channels_first(pixels)), pixels)
