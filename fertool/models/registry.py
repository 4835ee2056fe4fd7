"""The models there are, by name."""

import torch
from torch import nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier
from fertool.models.cnn import build_cnn


def build_model(
    name: str, classes: int, dropout: float | None = None, image_size: int | None = None
) -> FaceClassifier:
    """A new model with random weights, drawn from torch's generator as it stands.

    `name` is `cnn`, `vit` or any name that timm knows. `dropout` and `image_size` None are the model's own
    defaults. Raises UserError for a name that is none, and for a size that the model cannot take.
    """
    if name == "cnn":
        if image_size not in (None, 48):
            raise UserError(
                f"--image-size {image_size}: the fully connected layer of 'cnn' takes 48 pixels only"
            )
        model = build_cnn(classes) if dropout is None else build_cnn(classes, dropout)
    else:
        # timm takes seconds to import, and `cnn` does without
        from fertool.models.timm_backbone import build_timm, is_timm_model

        if not is_timm_model(name):
            raise UserError(
                f"no model '{name}'; there are cnn, vit, and any name of a timm model, as resnet50"
            )
        model = build_timm(name, classes, dropout, image_size)
    if model.family == "cnn":  # the layout of its inputs: convolutions then reorder nothing
        model.to(memory_format=torch.channels_last)
    model.recipe = {"name": name, "classes": classes, "dropout": dropout, "image_size": image_size}
    return model


def parameter_count(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in model.parameters())
