"""A user's own network: `package.module:factory`."""

import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones import multiscale
from fertool.models.backbones.cnn import INPUT
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.frozen_eval import frozen_eval
from fertool.models.structure.trial import check_behaviour, check_output
from fertool.models.structure.wrap_network import face_classifier
from fertool.runtime.user_function import defining_files, find_function, first_line, is_function_name

SIZE = 224  # pixels
OTHER_PREFIXES = ("hf:", "memory:")
# ImageNet's for colour, as nearly all weights expect; FER2013's for grey
STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: (INPUT.mean, INPUT.std)}


def is_user_network(name: str) -> bool:
    """Whether a model's name is of the form `package.module:factory`, and not `multiscale:NAME` or the like."""
    return not name.startswith((multiscale.PREFIX, *OTHER_PREFIXES)) and is_function_name(name)


def source_files(name: str) -> list[Path]:
    """The files that define a user's network, or each branch of several; none for the name of any other model.

    They are those of its module, of the factory where that is written elsewhere, and of their whole package, unless it
    is an installed one.
    """
    name = name.removeprefix(multiscale.PREFIX)
    if not is_user_network(name):
        return []
    return defining_files(name.partition(":")[0], find_function("--model", name))


def build_user_network(
    name: str, classes: int, image_size: int | None = None, channels: int | None = None
) -> FaceClassifier:
    """The network that the function `name` returns: an `nn.Module` from inputs (B, channels, S, S) to logits.

    The function is called with `num_classes=classes` where it takes such an argument, else with none. Inputs are RGB of
    224 pixels by default, normalised with ImageNet's statistics; modules are looked for in the current folder too.
    Raises UserError where there is no such function, where it fails, where it returns no such module, and where the
    network behaves as no classifier should (see `check_behaviour`).
    """
    channels = 3 if channels is None else channels
    if channels not in STATISTICS:
        raise UserError(f"--channels {channels}: faces have 1 (grey) or 3 (RGB)")
    network = _call(name, find_function("--model", name), classes)
    mean, std = STATISTICS[channels]
    spec = InputSpec(size=SIZE if image_size is None else image_size, channels=channels, mean=mean, std=std)
    head = find_head(name, network, spec, classes)
    check_behaviour(name, network, spec)
    return face_classifier(network, spec, head)


def _call(name: str, factory: Callable[..., object], classes: int) -> nn.Module:
    takes_classes = "num_classes" in inspect.signature(factory).parameters
    try:
        network = factory(num_classes=classes) if takes_classes else factory()
    except Exception as error:
        raise UserError(f"--model {name}: the function failed ({first_line(error)})") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {name}: returned a {type(network).__name__}, not a torch.nn.Module")
    if isinstance(network, torch.jit.ScriptModule):
        raise UserError(
            f"--model {name}: returned a TorchScript module, whose layers cannot be read; return the nn.Module that it "
            "was made from"
        )
    return network


def find_head(name: str, network: nn.Module, spec: InputSpec, classes: int) -> str:
    """The name of the last layer with parameters, where its output is the logits; else the empty name."""
    finished: list[tuple[str, object]] = []

    def note(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            finished.append((layer, output))

        return hook

    with contextlib.ExitStack() as hooks:
        for layer, module in network.named_modules():
            if layer and next(module.parameters(recurse=False), None) is not None:
                hooks.enter_context(module.register_forward_hook(note(layer)))
        try:
            with frozen_eval(network), torch.no_grad():
                output = network(spec.zeros())
        except Exception as error:
            raise UserError(
                f"--model {name}: takes no input of {spec.channels} channels and {spec.size} pixels "
                f"({first_line(error)}); see --channels and --image-size"
            ) from None
    check_output(name, output, classes)
    layer, last = finished[-1] if finished else ("", None)
    return layer if isinstance(last, Tensor) and last.shape == (1, classes) else ""
