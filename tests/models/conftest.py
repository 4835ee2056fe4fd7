import pytest

from fertool.models.backbones import vggface


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-Face and the ViT with fewer channels: what is saved and loaded is a few megabytes, not half a gigabyte."""
    from fertool.models.backbones import timm_backbone

    monkeypatch.setattr(vggface, "HIDDEN_UNITS", 8)
    monkeypatch.setattr(vggface, "STAGES", ((4, 2), (4, 2), (8, 3), (8, 3), (8, 3)))
    small = timm_backbone.TimmNetwork("vit_base_patch16_224", {"embed_dim": 48, "depth": 2, "num_heads": 3})
    monkeypatch.setitem(timm_backbone.NAMED, "vit", small)
