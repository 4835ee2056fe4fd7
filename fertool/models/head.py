"""The first weights of a backbone's new head."""

from torch import nn

STD = 0.01


def begin_small(head: nn.Module) -> None:
    """Draw the weights of a new head so small that its first logits are about 0.

    Some networks' own initialisation (timm's MobileNets and EfficientNets: uniform up to 1/sqrt(classes)) gives first
    losses so large that their gradients undo the pretraining of the backbone.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
