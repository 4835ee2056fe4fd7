"""Vision transformers that learn faces from scratch on a CPU."""

from timm.models import VisionTransformer


def small_vit(num_classes: int) -> VisionTransformer:
    """Build six blocks of width 96 for 12 x 12 patches, 0.7 million parameters; synthetic faces take it minutes."""
    return _vit(num_classes, patch_px=12, width=96, depth=6)


def face_vit(num_classes: int) -> VisionTransformer:
    """Build eight blocks of width 192 for 6 x 6 patches, 3.6 million parameters."""
    return _vit(num_classes, patch_px=6, width=192, depth=8)


def _vit(num_classes: int, *, patch_px: int, width: int, depth: int) -> VisionTransformer:
    """A transformer for RGB faces of 48 pixels."""
    return VisionTransformer(
        img_size=48,
        patch_size=patch_px,
        embed_dim=width,
        depth=depth,
        num_heads=3,
        num_classes=num_classes,
        drop_path_rate=0.1,
    )
