"""The models there are, by name."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fertool.errors import UserError
from fertool.models.backbones.cnn import build_cnn, build_cnn_gap
from fertool.models.backbones.hub_architecture import read_architecture
from fertool.models.backbones.hub_library import is_hub_model
from fertool.models.backbones.memory_network import build_memory_network, is_memory_network
from fertool.models.backbones.multiscale import PREFIX, MultiscaleClassifier, read_views
from fertool.models.backbones.resnet48 import build_resnet48
from fertool.models.backbones.user_network import build_user_network, is_user_network
from fertool.models.classifier import FaceClassifier, Interpolation
from fertool.models.frozen_eval import layer_outputs
from fertool.models.statistics import set_statistics
from fertool.models.structure.memory_format import takes_channels_last
from fertool.models.structure.named_layers import maps_at, views_at

# made for 48-pixel faces; there are no pretrained weights for them
OWN = {"cnn": build_cnn, "cnn-gap": build_cnn_gap, "resnet48": build_resnet48}
PRETRAINED = ("vit", "vggface", "vggface2", "dlibface", "facevit")
NEAREST = 3  # names that are shown for one that is none


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
    bgr: bool | None = None,
    interpolation: Interpolation | None = None,
    crop_scale: float | None = None,
    network_classes: int | None = None,
    outputs: Sequence[int] | None = None,
    architecture: dict[str, Any] | None = None,
) -> FaceClassifier:
    """A new model with random weights, drawn from PyTorch's generator in its present state.

    Args:
        name: one of ours (`model_table`), any name of a timm model, `package.module:factory`, `hf:FOLDER`, or
            `multiscale:` and one of the first two. None for any of the following arguments is the model's own default.
        classes: the number of logits.
        dropout: probability of dropping a feature before the head.
        drop_path: probability of dropping a residual branch (stochastic depth).
        image_size: height and width of the network's input, pixels.
        variant: the tag of timm's pretrained weights whose input size and statistics the model is to have.
        cam_layer: the submodule that a CAM reads.
        channels: of a user's own network's input, 1 (grey) or 3 (RGB).
        mean: of the input, one number a channel, of pixels scaled to 0..1.
        std: likewise, the deviation.
        views: of a `multiscale:` model, one or two of `whole` and `face`, as `whole,face`.
        bgr: whether the input's channels are blue, green, red.
        interpolation: how faces are brought to the input's size (default: bilinear).
        crop_scale: side of the square that the network sees of a face, in shares of the picture's side (default: 1).
        network_classes: the number of the network's own outputs, where it is not `classes`.
        outputs: the number of the network's output for each class, -1 for one that it does not have.
        architecture: of a model `hf:`, what `read_architecture` found; None: it is read from its folder.

    Raises:
        UserError: for an unknown name, and for a setting that the model cannot take.
    """
    settings: dict[str, Any] = {
        "dropout": dropout,
        "drop_path": drop_path,
        "image_size": image_size,
        "variant": variant,
        "cam_layer": cam_layer,
        "channels": channels,
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
    }
    # settings of networks that were trained elsewhere; other recipes do not name them
    adopted: dict[str, Any] = {
        key: value
        for key, value in (
            ("bgr", bgr or None),
            ("interpolation", interpolation),
            ("crop_scale", crop_scale),
            ("network_classes", network_classes),
            ("outputs", None if outputs is None else list(outputs)),
            ("architecture", _architecture(name, architecture)),
        )
        if value is not None
    }
    if name.startswith(PREFIX):
        if is_hub_model(name.removeprefix(PREFIX)):
            raise UserError(
                f"--model {name}: only models of timm and ours have several views; take one of them"
            )
        if adopted:
            raise UserError(
                f"--model {name}: a model of several views is not adopted; give the name of one branch"
            )
        seen = read_views(views)
        branches = [build_model(name.removeprefix(PREFIX), classes, **settings) for _ in seen]
        settings["cam_layer"] = branches[0].recipe["cam_layer"]
        model: FaceClassifier = MultiscaleClassifier(branches, seen)
    else:
        _refuse_settings(name, settings, views)
        model = _build(name, network_classes or classes, {**settings, **adopted})
        set_statistics(model, mean, std)
        model.input_spec = replace(
            model.input_spec,
            bgr=model.input_spec.bgr if bgr is None else bgr,
            interpolation=interpolation or model.input_spec.interpolation,
            crop_scale=crop_scale or model.input_spec.crop_scale,
        )
        model.outputs = None if outputs is None else tuple(outputs)
        if cam_layer is not None:
            _set_cam_layer(model, cam_layer)
        settings["cam_layer"] = cam_layer or model.found_cam_layer
        model.channels_last = model.family == "cnn" and takes_channels_last(model.network)
        if model.channels_last:  # the memory format of its inputs: convolutions then reorder nothing
            model.to(memory_format=torch.channels_last)
    model.recipe = {"name": name, "classes": classes, **settings, "views": views, **adopted}
    return model


def _architecture(name: str, found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is not None or not is_hub_model(name):
        return found
    return read_architecture(Path(name.removeprefix("hf:")), name)


def _refuse_settings(name: str, settings: dict[str, Any], views: str | None) -> None:
    """Raise UserError for a setting that models of this kind do not have."""
    own, hub = is_user_network(name), is_hub_model(name)
    for option, given, possible in (
        ("views", views, False),
        (
            "drop-path",
            settings["drop_path"],
            name not in (*OWN, "vggface", "dlibface") and not own and not hub,
        ),
        ("dropout", settings["dropout"], not own and not hub),
        ("channels", settings["channels"], own),
    ):
        if given is not None and not possible:
            raise UserError(f"--{option}: {name} has no such setting; leave the option out")


def _build(name: str, classes: int, settings: dict[str, Any]) -> FaceClassifier:
    dropout, drop_path, image_size = (settings[key] for key in ("dropout", "drop_path", "image_size"))
    # timm takes seconds to import, and our own models do without
    if name in OWN:
        return OWN[name](classes, dropout, image_size)
    if is_memory_network(name):
        return build_memory_network(name, classes)
    if is_user_network(name):
        return build_user_network(name, classes, image_size, settings["channels"])
    if is_hub_model(name):
        from fertool.models.backbones.hub_network import build_hub

        return build_hub(name, classes, image_size, settings["architecture"])
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
        raise unknown_model(name)
    return build_timm(name, classes, dropout, drop_path, image_size, settings["variant"])


def unknown_model(name: str) -> UserError:
    """The error for a name that is none, with the names that are nearest to it."""
    import timm

    known = [*OWN, *PRETRAINED, *timm.list_models()]
    nearest = difflib.get_close_matches(name, known, n=NEAREST, cutoff=0.5)
    if nearest:
        return UserError(
            f"no model '{name}'; the nearest names are {', '.join(nearest)} (fertool train --list-models)"
        )
    return UserError(
        f"no model '{name}'; there are {', '.join([*OWN, *PRETRAINED])}, any name of a timm model, as resnet50, and "
        "package.module:factory for your own"
    )


def _set_cam_layer(model: FaceClassifier, cam_layer: str) -> None:
    option = f"--cam-layer {cam_layer}"
    (view,) = views_at(model, cam_layer, option)
    outputs = layer_outputs(model.network, view.cam_layer, model.empty_input())
    maps_at(model, view, outputs[-1] if outputs else None, option)
    model.views = (view,)


def parameter_count(model: nn.Module) -> int:
    """The number of values that training may change."""
    return sum(parameter.numel() for parameter in model.parameters())
