"""Any convolutional network or vision transformer of timm, by its timm name."""

from dataclasses import dataclass, field, replace
from typing import Any

import timm
from timm.models import PretrainedCfg
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.head import begin_small
from fertool.models.structure.wrap_network import face_classifier


@dataclass(frozen=True)
class TimmNetwork:
    """What timm is asked for: an architecture, its arguments, and what differs in its pretrained configuration."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    overlay: dict[str, Any] = field(default_factory=dict)


# our names; `facevit` is as config.json of its hub repository says: patches of 8 pixels on faces of 112
NAMED = {
    "vit": TimmNetwork("vit_base_patch16_224"),
    "facevit": TimmNetwork(
        "vit_tiny_patch16_224",
        arguments={"patch_size": 8},
        overlay={
            "hf_hub_id": "gaunernst/vit_tiny_patch8_112.arcface_ms1mv3",
            "input_size": (3, 112, 112),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "num_classes": 512,
        },
    ),
}
PATCHES = "patch_embed.proj.weight"


def is_timm_model(name: str) -> bool:
    """Whether timm has a model of that name (or we have another name for it)."""
    return name in NAMED or timm.is_model(name)


def timm_network(name: str, variant: str | None = None) -> TimmNetwork:
    """What a name stands for; `variant` is the tag of timm's pretrained weights that it is to suit."""
    network = NAMED.get(name, TimmNetwork(name))
    return replace(network, architecture=f"{network.architecture}.{variant}") if variant else network


def pretrained_config(network: TimmNetwork) -> PretrainedCfg:
    """Its input size and statistics, and where its weights are. Raises UserError for a tag that is none."""
    try:
        config = timm.get_pretrained_cfg(network.architecture, allow_unregistered=False)
    except RuntimeError as error:
        raise UserError(f"no model '{network.architecture}' ({error})") from None
    return replace(config, **network.overlay)


def build_timm(
    name: str,
    classes: int,
    dropout: float | None = None,
    drop_path: float | None = None,
    image_size: int | None = None,
    variant: str | None = None,
) -> FaceClassifier:
    """A timm model with random weights and a new head.

    Input statistics are those of its pretrained configuration, and so is the input size unless `image_size`
    is given. Raises UserError where the architecture takes no such size, dropout or stochastic depth.
    """
    wanted = timm_network(name, variant)
    config = pretrained_config(wanted)
    network = _create(name, wanted, classes, dropout, drop_path, image_size)
    for head in heads(network):
        begin_small(network.get_submodule(head))
    spec = InputSpec(
        size=config.input_size[-1] if image_size is None else image_size,
        channels=config.input_size[0],
        mean=tuple(config.mean),
        std=tuple(config.std),
    )
    try:
        head, *others = heads(network)
        return face_classifier(network, spec, head, tuple(others))
    except (AssertionError, RuntimeError) as error:
        raise UserError(f"{name} takes no pictures of {spec.size} pixels ({error})") from None


def heads(network: nn.Module) -> tuple[str, ...]:
    """The layers that timm replaces for other classes: mostly one, in a distilled model two.

    Raises UserError where there is none.
    """
    names = network.pretrained_cfg["classifier"]
    if not names:
        raise UserError(f"{network.pretrained_cfg['architecture']} has no classifier; take another model")
    return (names,) if isinstance(names, str) else tuple(names)


def pretrained_state(recipe: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a model of this recipe (see `build_model`) with pretrained tensors, as timm loads them.

    timm translates the names of other projects and resamples position embeddings to the image size. Raises
    RuntimeError where something is missing, left over or of another shape, patches of another size among it.
    """
    wanted = timm_network(recipe["name"], recipe["variant"])
    config = pretrained_config(wanted)
    names = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ()
    weights = [tensors[f"{name}.weight"] for name in names if f"{name}.weight" in tensors]
    # with its own number of classes timm lets nothing be missing, with another anything
    classes = len(weights[0]) if weights else 0
    source = {"state_dict": dict(tensors), "num_classes": classes, "label_offset": 0}
    wanted = replace(wanted, overlay=wanted.overlay | source)
    donor = _create(recipe["name"], wanted, classes, image_size=recipe["image_size"], pretrained=True)
    state = donor.state_dict()
    if any(
        key in state and tensors[key].shape != state[key].shape for key in tensors if key.endswith(PATCHES)
    ):
        raise RuntimeError("patches of another size, which timm would resample")
    return state


def _create(
    name: str,
    wanted: TimmNetwork,
    classes: int,
    dropout: float | None = None,
    drop_path: float | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
) -> nn.Module:
    options = {"drop_rate": dropout, "drop_path_rate": drop_path}
    # transformers with position embeddings are built for a size; convolutional networks take any
    if image_size is not None and pretrained_config(wanted).fixed_input_size:
        options["img_size"] = image_size
    try:
        return timm.create_model(
            wanted.architecture,
            pretrained=pretrained,
            num_classes=classes,
            pretrained_cfg_overlay=wanted.overlay,
            **wanted.arguments,
            **options,
        )
    except (AssertionError, ValueError) as error:
        raise UserError(f"{name} cannot be built at {image_size or 'its own'} pixels ({error})") from None
    except TypeError as error:
        for option, argument in (("dropout", "drop_rate"), ("drop-path", "drop_path_rate")):
            if f"'{argument}'" in str(error):
                raise UserError(f"--{option}: {name} has none; leave the option out") from None
        raise
