"""How pretrained weights get into a model: all of them, or an error that names the first that does not fit."""

import contextlib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones import multiscale
from fertool.models.backbones.user_network import is_user_network
from fertool.models.classifier import FaceClassifier
from fertool.models.statistics import set_statistics
from fertool.models.weights.files import read_recipe, read_tensors
from fertool.models.weights.sources import PUBLISHED, Weights
from fertool.runtime.progress import log


def load_weights(model: FaceClassifier, weights: Weights) -> None:
    """Put weights into every branch of the model; its head stays as it is, new.

    The model then normalises its input as the weights expect, unless it was built with other statistics. Raises
    UserError where a name or a shape of the file's is not the model's, and for a file that cannot be read; the
    model is then as it was. Likewise for a run of another model, even where names and shapes are the same: its
    input, strides or pooling may not be.
    """
    if weights.path is None:
        return
    recipe = {**model.recipe, "name": model.recipe["name"].removeprefix(multiscale.PREFIX)}
    _refuse_run_of_other_model(recipe["name"], weights.path)
    if recipe["name"] == "dlibface" and weights.folded_norms:
        from fertool.models.backbones.dlibface import load_dlib_weights

        for _, network in model.branches():
            load_dlib_weights(network, weights.path)
        return
    tensors = read_tensors(weights.path)
    if len(model.views) > 1 and any(name.startswith("branches.") for name in tensors):
        states = [
            (model.network, _fitting(model.network, tensors, (model.head,), recipe["name"], weights.path))
        ]
    else:
        states = [
            (network, _branch_state(network, model.head, recipe, tensors, weights.path))
            for _, network in model.branches()
        ]
    for network, state in states:
        network.load_state_dict(state, strict=False)
    for option in ("mean", "std"):
        values = getattr(weights, option)
        if (
            values is not None
            and model.recipe[option] is None
            and values != getattr(model.input_spec, option)
        ):
            set_statistics(model, **{option: values})
            model.recipe[option] = list(values)
            log.info("input %s of %s: %s", option, weights.name, values)


def _refuse_run_of_other_model(name: str, path: Path) -> None:
    written = read_recipe(path)
    if written is None:
        return
    theirs = written["name"].removeprefix(multiscale.PREFIX)
    # a user's network may have moved to another module
    if not is_user_network(theirs) and not is_user_network(name) and _plain(theirs) != _plain(name):
        raise UserError(f"{path}: weights of a run of {theirs}, and this is {name}; give --model {theirs}")


def _plain(name: str) -> str:
    """A model's name without the tag of timm's weights, `vit` by timm's name."""
    return "vit_base_patch16_224" if name == "vit" else name.partition(".")[0]


def _branch_state(
    network: nn.Module, head: str, recipe: dict[str, Any], tensors: dict[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """What of a file's tensors goes into a network, all of it but the heads."""
    name, heads = recipe["name"], [head]
    if name == "vggface2":
        from fertool.models.backbones.vggface2 import translate_vggface2

        if path.suffix != ".pkl" and "conv1.weight" in tensors and read_recipe(path) is None:
            raise UserError(
                f"{path}: whether these weights see RGB or BGR cannot be told; give one of the files "
                f"{' and '.join(PUBLISHED[name].files)}"
            )
        tensors = translate_vggface2(tensors, bgr=path.suffix == ".pkl")
    elif hasattr(network, "pretrained_cfg"):
        from fertool.models.backbones import timm_backbone

        heads += timm_backbone.heads(network)
        with contextlib.suppress(RuntimeError):  # where they do not fit, what differs first is named below
            tensors = timm_backbone.pretrained_state(recipe, tensors)
    if not _has(network, head):  # a branch of several: its own head is taken off, an Identity in its place
        heads += [layer for layer, module in network.named_modules() if _was_linear(layer, module, tensors)]
    return _fitting(network, tensors, tuple(heads), name, path)


def _fitting(
    network: nn.Module, tensors: dict[str, Tensor], heads: tuple[str, ...], name: str, path: Path
) -> dict[str, Tensor]:
    """The tensors but for the heads'. Raises UserError that names the first that is not the network's."""

    def of_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
        below = tuple(f"{head}." for head in heads if head)
        return {key: value for key, value in state.items() if not key.startswith(below)}

    ours, theirs = of_backbone(network.state_dict()), of_backbone(tensors)
    for key, value in ours.items():
        if key not in theirs and not key.endswith("num_batches_tracked"):  # PyTorch counts them since 0.4.1
            raise UserError(f"{path}: not the weights of {name}: there is no {key} in it")
        if key in theirs and theirs[key].shape != value.shape:
            raise UserError(
                f"{path}: not the weights of {name}: {key} is {tuple(theirs[key].shape)} in it, and "
                f"{tuple(value.shape)} in the model"
            )
    for key in theirs:
        if key not in ours:
            raise UserError(f"{path}: not the weights of {name}: {key} in it is not in the model")
    return theirs


def _was_linear(layer: str, module: nn.Module, tensors: dict[str, Tensor]) -> bool:
    weight = tensors.get(f"{layer}.weight")
    return isinstance(module, nn.Identity) and weight is not None and weight.ndim == 2


def _has(network: nn.Module, layer: str) -> bool:
    return layer in dict(network.named_modules())
