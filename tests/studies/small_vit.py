"""Vision transformers that learn faces from scratch on a CPU."""

from itertools import pairwise
from typing import Any

from timm.layers import PatchEmbed
from timm.models import VisionTransformer
from torch import nn


class ConvolutionalStem(PatchEmbed):
    """Patches of 8 pixels, embedded by three convolutions of stride 2 rather than one of stride 8.

    Vision transformers learn sooner with it (Xiao et al. 2021, 'Early Convolutions Help Transformers See Better').
    """

    def __init__(self, *, in_chans: int = 3, embed_dim: int = 96, **settings: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **settings)
        widths = (in_chans, embed_dim // 4, embed_dim // 2, embed_dim)
        self.proj = nn.Sequential()
        for before, after in pairwise(widths):
            self.proj.append(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False))
            self.proj.append(nn.BatchNorm2d(after))
            self.proj.append(nn.ReLU())
        self.proj.append(nn.Conv2d(embed_dim, embed_dim, 1))


def small_vit(num_classes: int) -> VisionTransformer:
    """Build six blocks of width 96 for 12 x 12 patches, 0.7 million parameters; synthetic faces take it minutes."""
    return _vit(num_classes, patch_size=12, drop_path_rate=0.1)


def face_vit(num_classes: int) -> VisionTransformer:
    """Build six blocks of width 96 for 8 x 8 patches behind a convolutional stem, 0.7 million parameters."""
    return _vit(num_classes, patch_size=8, embed_layer=ConvolutionalStem)


def _vit(num_classes: int, **settings: Any) -> VisionTransformer:
    """A transformer for RGB faces of 48 pixels."""
    return VisionTransformer(
        img_size=48, embed_dim=96, depth=6, num_heads=3, num_classes=num_classes, **settings
    )
