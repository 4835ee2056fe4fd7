"""The two orders of an image's axes: as faces are stored, and as convolutions take them."""

from torch import Tensor


def channels_first(pixels: Tensor) -> Tensor:
    """Images as stored, (B, H, W) or (B, H, W, 3), as (B, 1, H, W) or (B, 3, H, W): a view."""
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


def stored_layout(images: Tensor) -> Tensor:
    """Images (B, 1, H, W) or (B, 3, H, W) in the layout of stored faces, (B, H, W) or (B, H, W, 3): a view."""
    return images[:, 0] if images.shape[1] == 1 else images.permute(0, 2, 3, 1)
