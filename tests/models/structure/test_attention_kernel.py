"""Attention as plain matrix products: the same logits, and only where they are the faster."""

import pytest
import torch

from fertool.models import build_model
from fertool.models.structure.attention_kernel import unfuse_attention


@pytest.mark.parametrize(("size", "is_fused"), [(64, False), (256, True)])
def test_only_blocks_of_few_tokens_are_changed_and_logits_stay(size: int, is_fused: bool) -> None:
    model = build_model("test_vit", 7, image_size=size).eval()
    inputs = torch.randn(2, *model.empty_input().shape[1:])
    with torch.inference_mode():
        own = model.logits(inputs)
        unfuse_attention(model)
        assert {model.layer(block).fused_attn for block in model.attention_blocks} == {is_fused}
        torch.testing.assert_close(model.logits(inputs), own, rtol=1e-4, atol=1e-5)
