"""Attention as plain matrix products where PyTorch's fused kernel is the slower of the two: training on a CPU."""

from typing import Any

from fertool.models.classifier import FaceClassifier

# Forward and backward, fused over explicit, one thread with AMX: 7.4 times as long at 37 tokens, 3.2 at 145 and 1.5 at
# 197 in bfloat16; 1.4, 1.3 and 0.9 in float32. The explicit form keeps heads x tokens x tokens numbers a face.
MOST_TOKENS = 200


def unfuse_attention(model: FaceClassifier) -> None:
    """Let every block of few tokens compute its attention explicitly; logits stay the same but for rounding."""
    tokens = model.tokens
    if tokens is None or tokens.prefix + tokens.rows * tokens.columns > MOST_TOKENS:
        return
    for block in model.attention_blocks:
        # timm's flag, which our networks from transformers have as well
        module: Any = model.layer(block)
        module.fused_attn = False
