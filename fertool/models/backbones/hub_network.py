"""Image classifiers of the library `transformers`: `hf:ORG/NAME` on its hub, or `hf:FOLDER`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models.backbones.hub_architecture import input_spec, read_architecture
from fertool.models.backbones.hub_library import PREFIX, library, one_line, quiet
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.head import begin_small
from fertool.models.structure.tokens import Attends, token_classifier
from fertool.models.structure.wrap_network import face_classifier

ATTENTION = "fertool"  # the name under which transformers knows `attend`
HEADS = (("cls_classifier", "distillation_classifier"), ("classifier",), ("head",))
NUMBERS_IN_A_STAGE = 2  # `encoder.stages.0.layers.1` is a stage of fine-tuning, what lies deeper is not


class HubNetwork(nn.Module):
    """An image classifier of transformers, from inputs to logits."""

    def __init__(self, hub: Any, *, other_size: bool) -> None:
        """Take a classifier of transformers; `other_size` where inputs have another size than its configuration's."""
        super().__init__()
        self.hub = hub
        self.other_size = other_size

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn inputs (B, C, size, size) into logits (B, classes)."""
        more = {"interpolate_pos_encoding": True} if self.other_size else {}
        return self.hub(pixel_values=inputs, **more).logits

    def group_matcher(self, coarse: bool) -> Callable[[str], int]:  # noqa: ARG002 (timm's signature)
        """The number of the stage of fine-tuning that a parameter belongs to, as timm's networks give it."""
        stages = list(dict.fromkeys(_stage(name) for name, _ in self.named_parameters()))
        return lambda name: stages.index(_stage(name))


def _stage(name: str) -> str:
    parts = name.split(".")
    numbers = [position for position, part in enumerate(parts) if part.isdigit()][:NUMBERS_IN_A_STAGE]
    return ".".join(parts[: numbers[-1] + 1] if numbers else parts[:3])


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers calls it, (B, heads, T, C) each, with what timm's modules show an explainer.

    Where `module.fused_attn` is off, the weights (B, heads, T, T) go through `module.attn_drop`, and a hook on it sees
    them. Returns (B, T, heads, C) and the weights where they were computed.
    """
    if module.__dict__.get("fused_attn", True):
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
        return mixed.transpose(1, 2).contiguous(), None
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = module.get_submodule("attn_drop")(scores.softmax(dim=-1))
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), weights


def build_hub(
    name: str, classes: int, image_size: int | None, architecture: dict[str, Any] | None
) -> FaceClassifier:
    """A model of transformers with random weights and a new head.

    Args:
        name: `hf:FOLDER`, or `hf:ORG/NAME`.
        classes: number of classes.
        image_size: side of the input in pixels. Default: None, that of its files.
        architecture: what `read_architecture` found; None: it is read, from a folder.

    Raises:
        UserError: transformers is not installed, knows no such image classifier, or the model takes no such size.
    """
    found = architecture or read_architecture(Path(name.removeprefix(PREFIX)), name)
    with one_line(name, "its configuration is not that of an image classifier"):
        spec = input_spec(found["input"], image_size)
        network = HubNetwork(_hub(name, found["config"], classes), other_size=False)
    native = getattr(network.hub.config, "image_size", None)
    network.other_size = _takes_other_sizes(network) and native not in (None, spec.size, [spec.size] * 2)
    heads = _heads(network)
    for head in heads:
        begin_small(network.get_submodule(head))
    with one_line(name, f"takes no images of {spec.size} pixels"):
        attending = _attending(network, spec)
        model = token_classifier(network, spec, _patch(network), attending, heads)
        return model or face_classifier(
            network, spec, heads[0] if heads else "", heads[1:], tokens_first=bool(attending)
        )


def hub_state(recipe: dict[str, Any], tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors under the names of files of transformers, those of older versions too, under the names of `HubNetwork`.

    Args:
        recipe: that of the model, with its `architecture`.
        tensors: those of the file.
        where: the file, for the error.

    Raises:
        UserError: a tensor of the model is missing in the file or has another shape; it is named.
    """
    config, name = recipe["architecture"]["config"], recipe["name"]
    donor = _hub(name, config, None)
    with quiet(), one_line(name, f"{where}: cannot be read as its weights"), torch.random.fork_rng():
        loaded, found = type(donor).from_pretrained(
            None,
            config=donor.config,
            state_dict=dict(tensors),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    for key, theirs, ours in found["mismatched_keys"]:
        raise UserError(
            f"{where}: not the weights of {name}: {key} is {tuple(theirs)} in it, and {tuple(ours)} in the model"
        )
    for key in sorted(found["missing_keys"]):
        raise UserError(f"{where}: not the weights of {name}: there is no {key} in it")
    for key in sorted(found["unexpected_keys"]):
        raise UserError(f"{where}: not the weights of {name}: {key} in it is not in the model")
    return {f"hub.{key}": value for key, value in loaded.state_dict().items()}


def _hub(name: str, config: dict[str, Any], classes: int | None) -> Any:
    """The classifier of a configuration, with a new head for `classes`; None: as many as it has."""
    transformers = library(name)
    transformers.AttentionInterface.register(ATTENTION, attend)
    settings = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    with quiet():
        made = transformers.AutoConfig.for_model(config["model_type"], **settings)
        if classes is not None:
            made.num_labels = classes
        hub = transformers.AutoModelForImageClassification.from_config(made).float()
    configs = {id(module.config): module.config for module in hub.modules() if hasattr(module, "config")}
    for each in configs.values():
        if getattr(each, "_attn_implementation", None) == "sdpa":
            each._attn_implementation = ATTENTION
    return hub


def _heads(network: HubNetwork) -> tuple[str, ...]:
    there = {name for name, _ in network.hub.named_children()}
    found = next((names for names in HEADS if there.issuperset(names)), ())
    return tuple(f"hub.{name}" for name in found)


def _takes_other_sizes(network: HubNetwork) -> bool:
    code = network.hub.forward.__func__
    code = getattr(code, "__wrapped__", code)
    return "interpolate_pos_encoding" in code.__code__.co_varnames


def _patch(network: HubNetwork) -> int | None:
    patch = getattr(network.hub.config, "patch_size", None)
    if isinstance(patch, list | tuple):
        patch = patch[0] if len(set(patch)) == 1 else None
    return patch


def _attending(network: HubNetwork, spec: InputSpec) -> list[Attends]:
    """The modules that attend, in the order in which they run, made such that explainers can look into them."""
    names = {module: name for name, module in network.named_modules()}
    seen: list[Attends] = []

    def note(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *more: Any, **options: Any) -> Any:
        seen.append(Attends(names[module], len(query), query.shape[2], key.shape[2]))
        return attend(module, query, key, value, *more, **options)

    from transformers import AttentionInterface

    modes = network.training
    AttentionInterface.register(ATTENTION, note)
    try:
        network.eval()
        with torch.no_grad():
            network(spec.zeros())
    finally:
        AttentionInterface.register(ATTENTION, attend)
        network.train(modes)
    for one in seen:
        module: Any = network.get_submodule(one.name)
        module.fused_attn = True
        module.attn_drop = nn.Dropout(float(getattr(module, "attention_dropout", 0.0) or 0.0))
    return seen
