from pathlib import Path

import huggingface_hub.constants
import pytest

from fertool.models.backbones import vggface
from fertool.models.weights.sources import FOLDER_VARIABLE
from fertool.runtime.download import CACHE_VARIABLE


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights anywhere, and nobody who answers; returns the folder in which downloads are kept."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-Face and the ViT with fewer channels: what is saved and loaded is a few megabytes, not half a gigabyte."""
    from fertool.models.backbones import timm_backbone

    monkeypatch.setattr(vggface, "HIDDEN_UNITS", 8)
    monkeypatch.setattr(vggface, "STAGES", ((4, 2), (4, 2), (8, 3), (8, 3), (8, 3)))
    small = timm_backbone.TimmNetwork("vit_base_patch16_224", {"embed_dim": 48, "depth": 2, "num_heads": 3})
    monkeypatch.setitem(timm_backbone.NAMED, "vit", small)
