"""A user's own network: `package.module:factory`."""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones import multiscale
from fertool.models.backbones.cnn import INPUT
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.frozen_eval import frozen_eval
from fertool.models.structure.wrap_network import face_classifier

SIZE = 224  # pixels
INSTALLED = {"site-packages", "dist-packages"}
# of ImageNet, as of nearly all weights for colour; of FER2013 for grey
STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: (INPUT.mean, INPUT.std)}


def is_user_network(name: str) -> bool:
    """Whether a model's name is of the form `package.module:factory`, and not `multiscale:NAME`."""
    if name.startswith(multiscale.PREFIX):
        return False
    module, colon, factory = name.partition(":")
    return bool(colon) and factory.isidentifier() and all(part.isidentifier() for part in module.split("."))


def source_files(name: str) -> list[Path]:
    """The files that say what a user's network is, or each branch of several; none for the name of any other model.

    Those of its module, of the factory where that is written elsewhere, and of all of the package that they are in,
    unless it is an installed one.
    """
    name = name.removeprefix(multiscale.PREFIX)
    if not is_user_network(name):
        return []
    found = inspect.unwrap(_find(name))
    module = name.partition(":")[0]
    files = {sys.modules[module].__file__}
    with contextlib.suppress(TypeError):  # of a class or function of C
        files.add(inspect.getsourcefile(found))
    own = {Path(file) for file in files if file is not None}
    for folder in getattr(sys.modules[module.partition(".")[0]], "__path__", ()):
        if INSTALLED.isdisjoint(Path(folder).parts):
            own |= set(Path(folder).rglob("*.py"))
    return sorted(own)


def build_user_network(
    name: str, classes: int, image_size: int | None = None, channels: int | None = None
) -> FaceClassifier:
    """What the function `name` returns, an `nn.Module` from inputs (B, channels, S, S) to logits (B, classes).

    It is called with `num_classes=classes` where it takes such an argument, else with none. By default inputs
    are RGB of 224 pixels, normalised by ImageNet's statistics; modules are looked for in the current folder
    too. Raises UserError where there is no such function, where it fails, and for what is no such module.
    """
    channels = 3 if channels is None else channels
    if channels not in STATISTICS:
        raise UserError(f"--channels {channels}: faces have 1 (grey) or 3 (RGB)")
    network = _call(name, _find(name), classes)
    mean, std = STATISTICS[channels]
    spec = InputSpec(size=SIZE if image_size is None else image_size, channels=channels, mean=mean, std=std)
    head = _head(name, network, spec, classes)
    return face_classifier(network, spec, head)


def _find(name: str) -> Callable[..., object]:
    module_name, _, factory = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"--model {name}: no module '{error.name}'; run from the folder that holds it, or install it"
        ) from None
    # whatever the user's own code raises
    except Exception as error:
        raise UserError(f"--model {name}: {module_name} cannot be imported ({_said(error)})") from None
    finally:
        sys.path.remove(here)
    found = getattr(module, factory, None)
    if not callable(found):
        raise UserError(f"--model {name}: no function '{factory}' in {module.__file__}")
    return found


def _call(name: str, factory: Callable[..., object], classes: int) -> nn.Module:
    takes_classes = "num_classes" in inspect.signature(factory).parameters
    try:
        network = factory(num_classes=classes) if takes_classes else factory()
    except Exception as error:
        raise UserError(f"--model {name}: the function failed ({_said(error)})") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {name}: returned a {type(network).__name__}, not a torch.nn.Module")
    return network


def _head(name: str, network: nn.Module, spec: InputSpec, classes: int) -> str:
    """The last layer with parameters, where its output is the logits; else the empty name."""
    finished: list[tuple[str, object]] = []

    def note(layer: str) -> Callable[..., None]:
        return lambda module, inputs, output: finished.append((layer, output))

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
                f"({_said(error)}); see --channels and --image-size"
            ) from None
    if not isinstance(output, Tensor) or output.shape != (1, classes):
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"--model {name}: gives {found} for one face, not logits of shape (1, {classes}); let the function "
            "take num_classes"
        )
    layer, last = finished[-1] if finished else ("", None)
    return layer if isinstance(last, Tensor) and last.shape == output.shape else ""


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
