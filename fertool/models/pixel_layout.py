"""The two orders of a picture's axes: as faces are stored, and as convolutions take them."""

from torch import Tensor


def to_planes(pixels: Tensor) -> Tensor:
    """Pictures as stored, (B, H, W) or (B, H, W, 3) -> planes (B, 1, H, W) or (B, 3, H, W), a view."""
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


def to_pixels(planes: Tensor) -> Tensor:
    """Planes (B, 1, H, W) or (B, 3, H, W) -> pictures as stored, (B, H, W) or (B, H, W, 3), a view."""
    return planes[:, 0] if planes.shape[1] == 1 else planes.permute(0, 2, 3, 1)
