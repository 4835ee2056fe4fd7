from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from fertool.models import FaceClassifier, build_model

GREY = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8))


@pytest.fixture
def faces() -> torch.Tensor:
    """Three grey faces of noise, uint8 (3, 48, 48)."""
    return GREY.clone()


@pytest.fixture(scope="session")
def built() -> Callable[..., FaceClassifier]:
    """Models by name and image size, shared: in evaluation mode, with weights that leave no branch idle."""

    @cache
    def build(name: str, image_size: int | None = None) -> FaceClassifier:
        torch.manual_seed(0)
        model = build_model(name, 7, image_size=image_size).eval()
        generator = torch.Generator().manual_seed(1)

        def spread(values: torch.Tensor, low: float, high: float) -> None:
            values.data.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)

        for module in model.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                spread(module.running_mean, -0.2, 0.2)
                spread(module.running_var, 0.5, 1.5)
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                spread(module.weight, 0.5, 1.5)  # residual branches begin at 0 in new networks
                spread(module.bias, -0.3, 0.3)
            if isinstance(getattr(module, "gamma", None), nn.Parameter):
                spread(module.gamma, 0.5, 1.0)  # and so does layer scale
            if isinstance(module, nn.Linear):
                module.weight.data.mul_(2)  # so does attention that is hardly more than a mean
        return model

    return build


@pytest.fixture
def predicted() -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda logits: logits.argmax(dim=1, keepdim=True)


@pytest.fixture
def fixed() -> Callable[..., Callable[[torch.Tensor], torch.Tensor]]:
    """The rule that chooses the given classes of every face."""
    return lambda *codes: lambda logits: torch.tensor(codes).expand(len(logits), -1)


@pytest.fixture
def close() -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Assert that raw maps (B, h, w) are the same, to 1e-4 of the reference's largest cell."""

    def check(ours: torch.Tensor, reference: torch.Tensor, tolerance: float = 1e-4) -> None:
        assert ours.dtype == torch.float32
        assert ours.shape == reference.shape
        largest = reference.abs().amax()
        assert torch.isfinite(largest) and largest > 0
        assert (ours - reference).abs().max() <= tolerance * largest

    return check
