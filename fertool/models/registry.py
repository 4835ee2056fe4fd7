"""The models there are, by name."""

from collections.abc import Sequence

import torch
from torch import nn

from fertool.errors import UserError
from fertool.models.backbones.cnn import build_cnn, build_cnn_gap
from fertool.models.backbones.multiscale import PREFIX, MultiscaleClassifier, read_views
from fertool.models.backbones.resnet48 import build_resnet48
from fertool.models.backbones.user_network import build_user_network, is_user_network
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import layer_outputs
from fertool.models.statistics import set_statistics
from fertool.models.structure.named_layers import maps_at, views_at

# made for 48-pixel faces, which nobody pretrained
OWN = {"cnn": build_cnn, "cnn-gap": build_cnn_gap, "resnet48": build_resnet48}


def build_model(
    name: str,
    classes: int,
    *,
    dropout: float | None = None,
    drop_path: float | None = None,
    image_size: int | None = None,
    variant: str | None = None,
    cam_layer: str | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    views: str | None = None,
) -> FaceClassifier:
    """A new model with random weights, drawn from torch's generator as it stands.

    `name` is one of ours (`model_table`), any that timm knows, `package.module:factory`, or `multiscale:` and one
    of these, with the `views` that its branches have, as `whole,face`. None is the model's
    own default everywhere: shares dropped before the head and of residual branches, pixels, the tag of
    timm's pretrained weights whose input size and statistics it is to have, the layer that a CAM reads, the
    channels of a user's own network, and the statistics of its input, a number a channel, of pixels scaled to
    0..1. Raises UserError for a name that is none, and for what the model cannot take.
    """
    settings = {
        "dropout": dropout,
        "drop_path": drop_path,
        "image_size": image_size,
        "variant": variant,
        "cam_layer": cam_layer,
        "channels": channels,
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
    }
    if name.startswith(PREFIX):
        seen = read_views(views)
        branches = [build_model(name.removeprefix(PREFIX), classes, **settings) for _ in seen]
        model = MultiscaleClassifier(branches, seen)
        model.recipe = {"name": name, "classes": classes, **settings, "views": views}
        return model
    for option, given, possible in (
        ("views", views, False),
        ("drop-path", drop_path, name not in (*OWN, "vggface", "dlibface") and not is_user_network(name)),
        ("dropout", dropout, not is_user_network(name)),
        ("channels", channels, is_user_network(name)),
    ):
        if given is not None and not possible:
            raise UserError(f"--{option}: {name} has no such setting; leave the option out")
    model = _build(name, classes, dropout, drop_path, image_size, variant, channels)
    set_statistics(model, mean, std)
    if cam_layer is not None:
        _set_cam_layer(model, cam_layer)
    if model.family == "cnn":  # the layout of its inputs: convolutions then reorder nothing
        model.to(memory_format=torch.channels_last)
    model.recipe = {"name": name, "classes": classes, **settings, "views": views}
    return model


def _build(
    name: str,
    classes: int,
    dropout: float | None,
    drop_path: float | None,
    image_size: int | None,
    variant: str | None,
    channels: int | None,
) -> FaceClassifier:
    # timm takes seconds to import, and our own do without
    if name in OWN:
        return OWN[name](classes, dropout, image_size)
    if is_user_network(name):
        return build_user_network(name, classes, image_size, channels)
    if name == "vggface":
        from fertool.models.backbones.vggface import build_vggface

        return build_vggface(classes, dropout, image_size)
    if name == "vggface2":
        from fertool.models.backbones.vggface2 import build_vggface2

        return build_vggface2(classes, dropout, drop_path, image_size)
    if name == "dlibface":
        from fertool.models.backbones.dlibface import build_dlibface

        return build_dlibface(classes, dropout, image_size)
    from fertool.models.backbones.timm_backbone import build_timm, is_timm_model

    if not is_timm_model(name):
        raise UserError(
            f"no model '{name}'; there are {', '.join(OWN)}, vit, vggface, vggface2, dlibface, facevit, any name "
            "of a timm model, as resnet50, and package.module:factory for your own"
        )
    return build_timm(name, classes, dropout, drop_path, image_size, variant)


def _set_cam_layer(model: FaceClassifier, cam_layer: str) -> None:
    option = f"--cam-layer {cam_layer}"
    (view,) = views_at(model, cam_layer, option)
    outputs = layer_outputs(model.network, view.cam_layer, model.empty_input())
    maps_at(model, view, outputs[-1] if outputs else None, option)
    model.views = (view,)


def parameter_count(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in model.parameters())
