"""The layer at which a CAM reads a network: the deepest with enough cells, found by trying it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, TokenGrid, View
from fertool.models.frozen_eval import frozen_eval, layer_outputs
from fertool.models.structure.map_layers import map_layers

CHOICE_REVISION = 2  # of the layer that is found: raise it when some network's is another one
LEAST_CELLS = 7  # a side, of the layer that is found: a 3x3 map cannot tell eyes from mouth
# rows and columns of the marks' centres, in shares of the image: two apart in columns alone, two in rows alone
MARKS = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25))
MARK_SIDE, MARK_STRENGTH = 0.25, 3.0  # in shares of the image; in deviations of its values
LEAST_MOVE = 0.02  # of the change in a map, in shares of the way that the mark moves
LEAST_SUM = 1e-4  # of gradient times activation over the channels, in shares of the sum of its terms' sizes
FEWEST_CELLS = 3  # a side, of a layer that the user chooses, and of a vision transformer's patches


@dataclass(frozen=True)
class CamLayer:
    """A layer whose output a CAM can read, and the layout of its maps, see `View`."""

    name: str
    deepest: bool = True  # whether it is the deepest with enough cells, which does not depend on the weights
    channels_last: bool = False
    tokens: TokenGrid | None = None


def find_cam_layer(network: nn.Module, inputs: Tensor, *, channels_last: bool = False) -> str:
    """The name of the layer that `find_map` finds among maps of one layout.

    `inputs` (1, C, S, S) is any network input. Raises UserError where no layer qualifies.
    """
    return _deepest(network, inputs, View("", maps_channels_last=channels_last), or_else=True).name


def find_map(
    network: nn.Module, inputs: Tensor, *, channels_last: bool = False, tokens_first: bool = False
) -> CamLayer:
    """The layer that a CAM reads: the deepest with at least 7x7 cells through which everything passes.

    It has to keep places and to stand behind, not before, a norm over its channels (see `_keeps_places` and
    `_before_norm`). Where no map (B, K, h, w) does, tokens (B, h * h, K) and then maps (B, h, w, K) are looked
    through. Where those fail too, the deepest layer of 7x7 cells is taken.

    Args:
        network: from inputs (B, C, S, S) to logits (B, classes).
        inputs: (1, C, S, S), any network input.
        channels_last: whether the network's maps are (B, h, w, K).
        tokens_first: whether tokens are looked through before maps, as for a network whose one map is that of its
            patches' embedding.

    Raises:
        UserError: no layer has enough cells.
    """
    layouts = [
        View("", maps_channels_last=channels_last),
        View("", tokens=TokenGrid(0, 0, 0, 0)),
        View("", maps_channels_last=True),
    ]
    if tokens_first:
        layouts[:2] = reversed(layouts[:2])
    for view in layouts[: 1 if channels_last else None]:
        with contextlib.suppress(_NoneFitsError):
            return _deepest(network, inputs, view)
    return _deepest(network, inputs, View("", maps_channels_last=channels_last), or_else=True)


class _NoneFitsError(Exception):
    """No layer keeps places and stands behind the norm."""


def _deepest(network: nn.Module, inputs: Tensor, layout: View, *, or_else: bool = False) -> CamLayer:
    """The deepest layer of this layout that fits; `or_else` the deepest with enough cells."""
    has_tokens = layout.tokens is not None
    layers = [
        layer
        for layer in map_layers(network, inputs, channels_last=layout.maps_channels_last, tokens=has_tokens)
        if layer.cells >= LEAST_CELLS
    ]
    if not layers:
        if not or_else:
            raise _NoneFitsError
        raise UserError(
            f"no layer of {type(network).__name__} has {LEAST_CELLS}x{LEAST_CELLS} cells at "
            f"{inputs.shape[-1]} pixels: give a larger --image-size"
        )
    found = [
        CamLayer(
            layer.name,
            layer is layers[-1],
            layout.maps_channels_last,
            TokenGrid(0, 0, layer.cells, layer.cells) if has_tokens else None,
        )
        for layer in layers
    ]
    with frozen_eval(network), torch.enable_grad():
        logits, outputs = _outputs(network, marked(inputs), [layer.name for layer in found])
        for layer in reversed(found):
            view = View(layer.name, maps_channels_last=layer.channels_last, tokens=layer.tokens)
            output = outputs[layer.name]
            if _keeps_places(view.feature_maps(output.detach())) and not _before_norm(logits, output, view):
                return layer
    if or_else:
        return found[-1]
    raise _NoneFitsError


def marked(inputs: Tensor) -> Tensor:
    """Random images like `inputs` (1, C, S, S), all the same: plain, and with one of MARKS each."""
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(inputs.shape, generator=generator).to(inputs)
    size = inputs.shape[-1]
    images = plain.repeat(1 + len(MARKS), 1, 1, 1)
    for number, centres in enumerate(MARKS, start=1):
        rows, columns = (
            slice(*(round(size * (centre + side * MARK_SIDE / 2)) for side in (-1, 1))) for centre in centres
        )
        images[number, :, rows, columns] += MARK_STRENGTH
    return images


def _outputs(network: nn.Module, images: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    outputs: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            outputs[name] = output.clone()
            return outputs[name]

        return hook

    with contextlib.ExitStack() as hooks:
        for name in names:
            hooks.enter_context(network.get_submodule(name).register_forward_hook(note(name)))
        logits = network(images.requires_grad_())
    return logits, outputs


def _keeps_places(maps: Tensor) -> bool:
    """Whether the change of maps (4, K, h, w) of `marked` images moves along a row when the mark does, and down.

    With random weights it moves the whole way in a small receptive field, and a twentieth of it in the deepest
    EfficientNets; networks that mix all places (convmixer_768_32) show less than a hundredth. Maps that are not finite
    say nothing.
    """
    change = (maps[1:] - maps[:1]).abs().sum(dim=1)
    change = change / change.sum(dim=(1, 2), keepdim=True)
    places = (torch.arange(maps.shape[-1], device=maps.device) + 0.5) / maps.shape[-1]
    column, row = ((change.sum(dim=axis) * places).sum(dim=1) for axis in (1, 2))
    moved = torch.stack(
        [
            (column[1] - column[0]) / (MARKS[1][1] - MARKS[0][1]),
            (row[2] - row[0]) / (MARKS[2][0] - MARKS[0][0]),
        ]
    )
    return not bool((moved < LEAST_MOVE).any())


def _before_norm(logits: Tensor, output: Tensor, view: View) -> bool:
    """Whether a norm over the channels comes right behind, which does not see the scale of a cell.

    Gradient times activation then adds up to 0 in every cell, but for rounding: HiResCAM would show noise.
    """
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), output, retain_graph=True, allow_unused=True)
    if gradient is None:
        return False
    terms = view.feature_maps(output.detach()).double() * view.feature_maps(gradient).double()
    size = terms.abs().sum(dim=1).mean()
    return bool(terms.sum(dim=1).abs().mean() < LEAST_SUM * size)


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
