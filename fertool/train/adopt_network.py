"""A network that a Python program holds becomes a run: `adopt(workspace, network, classes=..., name=...)`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model
from fertool.models.backbones import hub_library, memory_network
from fertool.models.backbones.hub_architecture import architecture
from fertool.models.backbones.memory_network import Preprocess, hold, state_hash, tried_spec
from fertool.models.backbones.user_network import SIZE, STATISTICS, is_user_network
from fertool.models.classifier import InputSpec
from fertool.models.frozen_eval import frozen_eval
from fertool.models.weights.class_order import find_class_order
from fertool.models.weights.sources import Weights
from fertool.runtime.hardware import choose_compute
from fertool.summary import Summary
from fertool.train.adoption import Adopted, adopted_model, origin_of, register
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

SAME = 1e-5  # largest difference of logits that counts as rounding, in shares of the largest logit


def adopt(
    workspace: Workspace,
    network: nn.Module,
    *,
    name: str,
    classes: Sequence[str] | None = None,
    preprocess: InputSpec | Preprocess | None = None,
    factory: str | None = None,
    device: str = "auto",
    force: bool = False,
) -> Summary:
    """Register a network that is in memory, with its head and weights as they are, as a run.

    Other processes, the command line among them, can explain the run where its network can be made again: by
    `factory`, by its own class without arguments, or, for a model of transformers, by its configuration. Any other
    network is explained and scored by the process that adopted it.

    Args:
        workspace: where the faces lie, and where the run is kept.
        network: from inputs (B, channels, S, S) to logits.
        name: of the run.
        classes: those of its outputs, in their order; None only for a model of transformers that names them itself.
        preprocess: the input that it expects, or a differentiable function from pixels 0..255, float32 (B, H, W) or
            (B, H, W, 3), to it. Default: None, 224 pixels of RGB with ImageNet's statistics.
        factory: `package.module:function` that makes the same network anywhere. Default: None.
        device: auto, cpu, cuda or mps.
        force: adopt it again where the name is taken.

    Returns:
        The content of run.json, and a table.

    Raises:
        UserError: the network is no classifier of these classes, the factory makes another one, or the name is taken.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"adopt: takes a torch.nn.Module, not a {type(network).__name__}; wrap it in one")
    labels = _configuration(network)
    order = find_class_order(classes, labels, f"adopt: {type(network).__name__}")
    spec, function = _input(workspace, preprocess)
    weights = Weights(
        f"{type(network).__name__} in memory", sha256=state_hash(network), source="memory of a Python process"
    )
    present = workspace.dataset()["classes"]
    if labels:
        if function is not None:
            raise UserError("adopt: a model of transformers takes an InputSpec as preprocess, not a function")
        weights = replace(weights, architecture=architecture(network.config, spec))
        config = _config(f"{hub_library.PREFIX}{type(network).__name__}", order)
    elif factory is not None and function is None:
        config = _config(factory, order, spec)
    else:
        own = None if function is not None or factory is not None else _own_class(network, order, spec)
        config = _config(own, order, spec) if own else _config(hold(network, spec, function), order)
    model, _ = adopted_model(config, weights, present, order)
    _take_weights(model, network, config.model)
    anywhere = not memory_network.is_memory_network(config.model)
    origin = origin_of(weights, model, present, order)
    if function is not None:
        origin["preprocessing"] |= {"function": getattr(function, "__qualname__", type(function).__name__)}
    compute = choose_compute(device, config.precision)
    summary = register(
        workspace, config, weights, Adopted(model, origin), workspace.run(name), compute, force=force
    )
    if anywhere:
        return summary
    note = f"{name}: only this Python process can explain and score it; with factory='package.module:function' any can"
    return replace(summary, notes=[*summary.notes, note])


def _config(model: str, order: Sequence[str], spec: InputSpec | None = None) -> TrainConfig:
    """The settings of the run; `spec` where the model does not bring its own."""
    if spec is None:
        return TrainConfig(model=model, epochs=0, class_order=tuple(order))
    return TrainConfig(
        model=model,
        epochs=0,
        class_order=tuple(order),
        image_size=spec.size,
        channels=spec.channels,
        mean=spec.mean,
        std=spec.std,
        bgr=spec.bgr,
        interpolation=spec.interpolation,
        crop_scale=None if spec.crop_scale == 1 else spec.crop_scale,
    )


def _input(
    workspace: Workspace, preprocess: InputSpec | Preprocess | None
) -> tuple[InputSpec, Preprocess | None]:
    if preprocess is None:
        mean, std = STATISTICS[3]
        return InputSpec(SIZE, 3, mean, std), None
    if isinstance(preprocess, InputSpec):
        return preprocess, None
    if not callable(preprocess):
        raise UserError(
            f"adopt: preprocess is a {type(preprocess).__name__}; give an InputSpec or a function from pixels to input"
        )
    face = torch.from_numpy(np.array(workspace.load_faces("val")[:1]))
    return tried_spec(preprocess, face), preprocess


def _configuration(network: nn.Module) -> dict[str, Any]:
    """The configuration of a model of transformers, the names of its classes in it; of any other network, nothing."""
    if not any(kind.__name__ == "PreTrainedModel" for kind in type(network).__mro__):
        return {}
    config: Any = network.config
    return json.loads(config.to_json_string(use_diff=False))


def _own_class(network: nn.Module, order: Sequence[str], spec: InputSpec) -> str | None:
    """`package.module:Class`, where that makes the same network anywhere; None where it does not."""
    kind = type(network)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__" or not is_user_network(name):
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            made = build_model(name, len(order), image_size=spec.size, channels=spec.channels)
        _take_weights(made, network, name)
    except UserError:
        return None
    return name


def _take_weights(model: FaceClassifier, network: nn.Module, name: str) -> None:
    """Put a network's weights into the model, and check that both compute the same logits."""
    prefix = "hub." if hub_library.is_hub_model(name) else ""
    state = {f"{prefix}{key}": value.detach().cpu().clone() for key, value in network.state_dict().items()}
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"adopt: {name} makes another network ({str(error).splitlines()[1].strip()[:160]})"
        ) from None
    inputs = model.random_inputs(2)
    device = next((value.device for value in network.state_dict().values()), torch.device("cpu"))
    with frozen_eval(network), torch.no_grad():
        theirs = network(inputs.to(device))
    theirs = (theirs.logits if prefix else theirs).cpu().float()
    with frozen_eval(model), torch.no_grad():
        ours = model.network(inputs)
    if not torch.allclose(ours, theirs, rtol=0, atol=SAME * float(theirs.abs().max())):
        raise UserError(
            f"adopt: {name} makes a network with these tensors but other logits; give another factory"
        )
