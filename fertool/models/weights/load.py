"""How pretrained weights get into a model: all of them, or an error that names the first that does not fit."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones import multiscale
from fertool.models.backbones.hub_library import is_hub_model
from fertool.models.backbones.hub_network import hub_state
from fertool.models.backbones.user_network import is_user_network
from fertool.models.classifier import FaceClassifier
from fertool.models.statistics import set_statistics
from fertool.models.weights import efficientnet_lite0
from fertool.models.weights.files import Checkpoint, read_checkpoint
from fertool.models.weights.prefixes import without_prefixes
from fertool.models.weights.recipe import read_recipe
from fertool.models.weights.sources import PUBLISHED, Weights
from fertool.runtime.progress import log


@dataclass(frozen=True)
class Taken:
    """The part of a file of weights that a model took."""

    backbone: int  # tensors
    classes: int  # that the new head tells apart
    file_classes: int | None = None  # that the file's head told apart; None: it has none that is known
    part: str = ""  # the name in the checkpoint under which the weights lay
    prefix: str = ""  # taken off the names
    head_kept: bool = False

    def __str__(self) -> str:
        """One line: `backbone 158 tensors; new head for 7 classes (the file's had 3)`."""
        theirs = "" if self.file_classes is None else f" (the file's had {self.file_classes})"
        line = f"backbone {self.backbone} tensors; new head for {self.classes} classes{theirs}"
        if self.head_kept:
            line = f"{self.backbone} tensors, with the head for {self.classes} classes"
        if self.part:
            line += f"; from '{self.part}' in the file"
        return line + (f"; names without '{self.prefix}'" if self.prefix else "")


def load_weights(model: FaceClassifier, weights: Weights, *, keep_head: bool = False) -> Taken | None:
    """Put weights into every branch of the model; its head stays as it is, new, unless `keep_head` asks for the file's.

    The model then normalises its input as the weights expect, unless it was built with other statistics.

    Returns:
        what the model took of the file; None for no weights.

    Raises:
        UserError: where a name or a shape of the file's is not the model's, and for a file that cannot be read; the
            model is then as it was. Likewise for a run of another model, even where names and shapes are the same:
            its input, strides or pooling may not be.
    """
    if weights.path is None:
        return None
    recipe = {**model.recipe, "name": model.recipe["name"].removeprefix(multiscale.PREFIX)}
    _refuse_run_of_other_model(recipe["name"], weights.path)
    classes = model.recipe.get("network_classes") or model.recipe["classes"]
    if keep_head:
        return _load_whole(model, recipe["name"], weights.path)
    if recipe["name"] == "dlibface" and weights.folded_norms:
        from fertool.models.backbones.dlibface import load_dlib_weights

        count = sum(load_dlib_weights(network, weights.path) for _, network in model.branches())
        return Taken(count, classes)
    checkpoint = read_checkpoint(weights.path)
    tensors, prefix = _named_as(model, _names(model), checkpoint.tensors, weights.path)
    states = _states(model, recipe, tensors, weights.path)
    for network, state in states:
        network.load_state_dict(state, strict=False)
    _take_statistics(model, weights)
    count = sum(len(state) for _, state in states)
    prefix = checkpoint.prefix + prefix
    return Taken(count, classes, _classes_told_apart(model, tensors), checkpoint.part, prefix)


def outputs_in(model: FaceClassifier, checkpoint: Checkpoint) -> int | None:
    """The number of outputs of the network in a checkpoint, by the head of a model like it; None where it has none."""
    tensors, _ = without_prefixes(checkpoint.tensors, _names(model))
    return _classes_told_apart(model, tensors)


def _load_whole(model: FaceClassifier, name: str, path: Path) -> Taken:
    """Put all tensors of a file into the network, its head among them."""
    checkpoint = read_checkpoint(path)
    tensors, prefix = _named_as(model, list(model.network.state_dict()), checkpoint.tensors, path)
    classes = model.recipe.get("network_classes") or model.recipe["classes"]
    theirs = _classes_told_apart(model, tensors)
    if theirs is not None and theirs != classes:
        raise UserError(
            f"{path}: its head has {theirs} outputs, and {classes} classes are named; name the class of each output, "
            "in their order (--class-order)"
        )
    state = _fitting(model.network, tensors, (), name, path)
    model.network.load_state_dict(state, strict=False)
    return Taken(len(state), classes, classes, checkpoint.part, checkpoint.prefix + prefix, head_kept=True)


def _named_as(
    model: FaceClassifier, names: list[str], tensors: dict[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file under the model's names as far as they are known, and the prefixes taken off for it."""
    tensors, prefix = without_prefixes(tensors, names)
    if is_hub_model(model.recipe["name"]) and not set(names) & tensors.keys():
        tensors = hub_state(model.recipe, tensors, str(path))
    return tensors, prefix


def _names(model: FaceClassifier) -> list[str]:
    """The names of the model's tensors, those of its branches both with and without the branch's own prefix."""
    branches = [name for _, network in model.branches() for name in network.state_dict()]
    return [*model.network.state_dict(), *branches]


def _states(
    model: FaceClassifier, recipe: dict[str, Any], tensors: dict[str, Tensor], path: Path
) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    """Networks, the whole one or its branches, with the part of the file's tensors that goes into each."""
    if model.views[0].prefix and any(name.startswith("branches.") for name in tensors):
        return [(model.network, _fitting(model.network, tensors, (model.head,), recipe["name"], path))]
    return [
        (network, _branch_state(network, model.head, recipe, tensors, path))
        for _, network in model.branches()
    ]


def _take_statistics(model: FaceClassifier, weights: Weights) -> None:
    """Normalise as the weights expect, where the user gave no statistics."""
    mean, std = (
        None if model.recipe[option] is not None or values == getattr(model.input_spec, option) else values
        for option, values in (("mean", weights.mean), ("std", weights.std))
    )
    set_statistics(model, mean, std)
    for option, values in (("mean", mean), ("std", std)):
        if values is not None:
            model.recipe[option] = list(values)
            log.info("input %s of %s: %s", option, weights.name, values)


def _classes_told_apart(model: FaceClassifier, tensors: dict[str, Tensor]) -> int | None:
    """How many logits the file's head gives, where it has the name of the model's."""
    heads = [model.head]
    config = getattr(model.branches()[0][1], "pretrained_cfg", None)
    if isinstance(config, dict) and config.get("classifier"):
        heads += [config["classifier"]] if isinstance(config["classifier"], str) else config["classifier"]
    for head in heads:
        for kind in ("weight", "bias"):
            tensor = tensors.get(f"{head}.{kind}")
            if tensor is not None and tensor.ndim:
                return len(tensor)
    return None


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
    """The part of a file's tensors that goes into a network: all but the heads."""
    name, heads = recipe["name"], [head]
    if name == "vggface2":
        from fertool.models.backbones.vggface2 import translate_vggface2

        if path.suffix != ".pkl" and "conv1.weight" in tensors and read_recipe(path) is None:
            raise UserError(
                f"{path}: whether these weights see RGB or BGR cannot be told; give one of the files "
                f"{' and '.join(PUBLISHED[name].files)}"
            )
        tensors = translate_vggface2(tensors, bgr=path.suffix == ".pkl")
    elif not is_user_network(name) and hasattr(network, "pretrained_cfg"):
        from fertool.models.backbones import timm_backbone

        heads += timm_backbone.heads(network)
        if name == efficientnet_lite0.MODEL:
            tensors = efficientnet_lite0.in_timms_names(network, tensors)
        # where they do not fit, the first difference is named below
        with contextlib.suppress(RuntimeError, KeyError, ValueError, IndexError, AttributeError, TypeError):
            tensors = timm_backbone.pretrained_state(recipe, tensors)
    if not _has(network, head):  # a branch of several: its own head is taken off, an Identity in its place
        heads += [layer for layer, module in network.named_modules() if _was_linear(layer, module, tensors)]
    return _fitting(network, tensors, tuple(heads), name, path)


def _fitting(
    network: nn.Module, tensors: dict[str, Tensor], heads: tuple[str, ...], name: str, path: Path
) -> dict[str, Tensor]:
    """The tensors but for the heads'. Raises UserError that names the first that is not the network's."""

    def backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
        below = tuple(f"{head}." for head in heads if head)
        return {key: value for key, value in state.items() if not key.startswith(below)}

    ours, theirs = backbone(network.state_dict()), backbone(tensors)
    for key, value in ours.items():
        if key not in theirs and not key.endswith("num_batches_tracked"):  # PyTorch counts them since 0.4.1
            other = next(
                (f"; {_shown(one)} in it is not in the model" for one in theirs if one not in ours), ""
            )
            raise UserError(f"{path}: not the weights of {name}: there is no {key} in it{other}")
        if key in theirs and theirs[key].shape != value.shape:
            raise UserError(
                f"{path}: not the weights of {name}: {key} is {tuple(theirs[key].shape)} in it, and "
                f"{tuple(value.shape)} in the model"
            )
    for key in theirs:
        if key not in ours:
            raise UserError(f"{path}: not the weights of {name}: {_shown(key)} in it is not in the model")
    return theirs


def _was_linear(layer: str, module: nn.Module, tensors: dict[str, Tensor]) -> bool:
    weight = tensors.get(f"{layer}.weight")
    return isinstance(module, nn.Identity) and weight is not None and weight.ndim == 2


def _has(network: nn.Module, layer: str) -> bool:
    return layer in dict(network.named_modules())


def _shown(key: str) -> str:
    """A name out of a file, fit for one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in key)[:100]
