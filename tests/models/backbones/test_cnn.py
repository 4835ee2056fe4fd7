import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fertool.models.registry import build_model


@pytest.mark.parametrize("name", ["cnn", "cnn-gap"])
def test_each_convolution_is_rectified_and_then_pooled(name: str) -> None:
    model = build_model(name, 7).eval()
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48), np.uint8)
    seen: dict[str, torch.Tensor] = {}
    for layer, module in model.network.named_children():
        module.register_forward_hook(lambda _, inputs, output, layer=layer: seen.update({layer: output}))
    with torch.no_grad():
        model(torch.from_numpy(faces))
    for stage, cells in ((1, 48), (2, 24), (3, 12)):
        rectified = seen[f"relu{stage}"]
        assert rectified.shape[2:] == (cells, cells)
        assert torch.equal(rectified, seen[f"conv{stage}"].clamp(min=0))
        if f"pool{stage}" in seen:
            assert torch.equal(seen[f"pool{stage}"], F.max_pool2d(rectified, 2))
    assert ("pool3" in seen) == (name == "cnn")
