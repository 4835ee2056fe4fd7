"""The new head that a backbone gets."""

from torch import nn

STD = 0.01


def begin_small(head: nn.Module) -> None:
    """Draw the weights of a new head so small that its first logits are about 0.

    With some networks' own numbers (timm's MobileNets and EfficientNets: uniform up to 1/sqrt(classes)) the
    first losses are so large that their gradients undo what the backbone was pretrained to.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
