"""The layer at which a CAM reads a network: the deepest with enough cells, found by trying it."""

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import layer_outputs
from fertool.models.structure.map_layers import map_layers

LEAST_CELLS = 7  # a side, of the layer that is found: a 3x3 map cannot tell eyes from mouth
FEWEST_CELLS = 3  # a side, of a layer that the user chooses, and of a vision transformer's patches


def find_cam_layer(network: nn.Module, inputs: Tensor, *, channels_last: bool = False) -> str:
    """The deepest layer with at least 7x7 cells through which everything passes, see `map_layers`.

    `inputs` (1, C, S, S) is any network input. Raises UserError where no layer qualifies.
    """
    layers = map_layers(network, inputs, channels_last=channels_last)
    enough = [layer.name for layer in layers if layer.cells >= LEAST_CELLS]
    if not enough:
        raise UserError(
            f"no layer of {type(network).__name__} has {LEAST_CELLS}x{LEAST_CELLS} cells at "
            f"{inputs.shape[-1]} pixels: give a larger --image-size"
        )
    return enough[-1]


def coarse_map_note(model: FaceClassifier) -> str | None:
    """A line for models whose maps have fewer than 7x7 cells, as a ViT's at a small size; None for others."""
    view = model.views[0]
    if view.tokens is not None:
        cells = min(view.tokens.rows, view.tokens.columns)
    else:
        output = layer_outputs(model.network, view.cam_layer, model.empty_input())[-1]
        if not isinstance(output, torch.Tensor):
            return None
        cells = min(view.feature_maps(output).shape[2:])
    if cells >= LEAST_CELLS:
        return None
    return (
        f"maps of {model.recipe['name']} have {cells}x{cells} cells at {model.input_spec.size} pixels: too few to tell "
        "eyes from mouth; a larger --image-size gives more"
    )
