"""The layer that a CAM reads, named by the user: in place of the one that is found by trying."""

import difflib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, View
from fertool.models.frozen_eval import frozen_eval
from fertool.models.structure.cam_layer import FEWEST_CELLS

MOST_NAMES = 40  # longer lists are cut to the layers at the top and just below


def views_at(model: FaceClassifier, layer: str | None, option: str) -> tuple[View, ...]:
    """The model's views, read at a layer that the user names; at the model's own CAM layers where it is None.

    Args:
        model: the model.
        layer: name of a submodule of each view's network.
        option: the option as the user wrote it, for the error.

    Raises:
        UserError: there is no such layer; the error lists the layers that there are.
    """
    if layer is None:
        return model.views
    views = tuple(replace(view, cam_layer=f"{view.prefix}{layer}") for view in model.views)
    known = dict(model.network.named_modules())
    if not layer or any(view.cam_layer not in known for view in views):
        raise UserError(f"{option}: no such layer; {_layers_there_are(model, layer)}")
    return views


def maps_at(model: FaceClassifier, view: View, output: object, option: str) -> Tensor:
    """The output of a view's CAM layer as float32 feature maps (B, K, h, w).

    `option` is the option that named the layer, as the user wrote it. Raises UserError, with the layers that there
    are, where the output is no map of the picture.
    """
    maps = _as_maps(view, output)
    if maps is None:
        raise UserError(
            f"{option}: gives no map of the image, of as many rows as columns and at least {FEWEST_CELLS}; "
            f"{_layers_there_are(model, view.cam_layer.removeprefix(view.prefix))}"
        )
    return maps.float()


def map_layer_names(model: FaceClassifier) -> list[str]:
    """Names of the layers of the first view's network that give a map, in the order in which they finish."""
    view = model.views[0]
    finished: dict[str, None] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            finished.pop(name, None)
            if _as_maps(view, output) is not None:
                finished[name] = None

        return hook

    branch = model.network.get_submodule(view.prefix.rstrip("."))
    handles = [module.register_forward_hook(note(name)) for name, module in branch.named_modules() if name]
    try:
        with frozen_eval(model), torch.no_grad():
            model.logits(model.empty_input())
    finally:
        for handle in handles:
            handle.remove()
    return list(finished)


def _as_maps(view: View, output: object) -> Tensor | None:
    if not isinstance(output, Tensor):
        return None
    try:
        maps = view.feature_maps(output)
    except (IndexError, RuntimeError):  # another number of dimensions, or of tokens
        return None
    return maps if maps.ndim == 4 and maps.shape[2] == maps.shape[3] >= FEWEST_CELLS else None


def _layers_there_are(model: FaceClassifier, asked: str) -> str:
    names = map_layer_names(model)
    own = model.cam_layer.removeprefix(model.views[0].prefix)
    near = difflib.get_close_matches(asked, names, n=3)
    shown = names if len(names) <= MOST_NAMES else [name for name in names if name.count(".") < 2]
    more = ", and the layers inside them" if len(shown) < len(names) else ""
    nearest = f"nearest are {', '.join(near)}; " if near else ""
    return f"{nearest}the default is {own}; there are {', '.join(shown)}{more}"
