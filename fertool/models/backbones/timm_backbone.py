"""Any convolutional network or vision transformer of timm, by its timm name."""

from dataclasses import dataclass, field, replace
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.head import begin_small
from fertool.models.structure.wrap_network import face_classifier
from fertool.runtime.user_function import first_line


@dataclass(frozen=True)
class TimmNetwork:
    """A request to timm: an architecture, its arguments, and the changes to its pretrained configuration."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    overlay: dict[str, Any] = field(default_factory=dict)


# our names; `facevit` follows config.json of its hub repository: patches of 8 pixels on faces of 112
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
# architectures that have no one map of the image, by the beginning of their names
WITHOUT_MAP = {
    "crossvit_": "it has two grids of patches side by side",
    "tnt_": "it has tokens within its tokens",
    "naflexvit_": "it takes patches in place of images",
}
LARGEST_TRIED = 512  # pixels


def is_timm_model(name: str) -> bool:
    """Whether timm has a model of that name (or we have another name for it)."""
    return name in NAMED or timm.is_model(name)


def timm_network(name: str, variant: str | None = None) -> TimmNetwork:
    """The request that a name stands for; `variant` is the tag of timm's pretrained weights that it must suit."""
    network = NAMED.get(name, TimmNetwork(name))
    return replace(network, architecture=f"{network.architecture}.{variant}") if variant else network


def pretrained_config(network: TimmNetwork) -> PretrainedCfg:
    """Its input size and statistics, and the address of its weights. Raises UserError for an unknown tag."""
    try:
        config = timm.get_pretrained_cfg(network.architecture, allow_unregistered=False)
    except RuntimeError as error:
        raise UserError(f"no model '{network.architecture}' ({error})") from None
    if config is None:
        raise UserError(f"no model '{network.architecture}' with a pretrained configuration; take another")
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

    Input statistics are those of its pretrained configuration.

    Args:
        name: the model, as timm calls it.
        classes: number C of classes.
        dropout: dropout probability before the head, 0 to below 1. Default: None, the architecture's own.
        drop_path: probability of skipping a residual branch, 0 to below 1. Default: None, the architecture's own.
        image_size: side of the input in pixels. Default: None, that of its pretrained configuration.
        variant: tag of timm's pretrained weights that the model must suit. Default: None, timm's default tag.

    Returns:
        The classifier, which takes faces as stored.

    Raises:
        UserError: the model cannot be explained, or takes no such size, dropout or stochastic depth.
    """
    for beginning, reason in WITHOUT_MAP.items():
        if name.startswith(beginning):
            raise UserError(
                f"{name} cannot be explained: {reason}; take another model, as vit_small_patch16_224"
            )
    wanted = timm_network(name, variant)
    try:
        return _classifier(name, wanted, classes, dropout, drop_path, image_size)
    except UserError:
        raise
    # a size that an architecture cannot take fails anywhere in it, with any error
    except Exception as error:
        size = image_size or pretrained_config(wanted).input_size[-1]
        raise UserError(
            f"{name} takes no images of {size} pixels ({first_line(error)}){_sizes_that_work(name, wanted, size)}"
        ) from None


def _classifier(
    name: str,
    wanted: TimmNetwork,
    classes: int,
    dropout: float | None,
    drop_path: float | None,
    image_size: int | None,
) -> FaceClassifier:
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
    head, *others = heads(network)
    return face_classifier(network, spec, head, tuple(others))


def _sizes_that_work(name: str, wanted: TimmNetwork, size: int) -> str:
    """The nearest sizes below and above that the architecture takes, tried, as the end of an error's line."""
    native = pretrained_config(wanted).input_size[-1]
    likely = {native, *(step * 32 for step in range(1, LARGEST_TRIED // 32 + 1))} - {size}
    below = [other for other in sorted(likely, reverse=True) if other < size][:3]
    above = [other for other in sorted(likely) if other > size][:3]
    if native not in (*below, *above):
        (below if native < size else above).append(native)
    found = [
        next((other for other in others if _works(name, wanted, other)), None) for others in (below, above)
    ]
    sizes = [str(other) for other in found if other is not None]
    return f"; give {' or '.join(sizes)} as --image-size" if sizes else ""


def _works(name: str, wanted: TimmNetwork, size: int) -> bool:
    try:
        with torch.random.fork_rng(devices=[]):
            _classifier(name, wanted, 2, None, None, size)
    except Exception:
        return False
    return True


def heads(network: nn.Module) -> tuple[str, ...]:
    """The layers that timm replaces for other classes: mostly one, in a distilled model two.

    Raises UserError where there is none.
    """
    config: Any = network.pretrained_cfg
    names = config["classifier"]
    if not names:
        raise UserError(f"{config['architecture']} has no classifier; take another model")
    return (names,) if isinstance(names, str) else tuple(names)


def pretrained_state(recipe: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a model of this recipe (see `build_model`) with pretrained tensors, as timm loads them.

    timm translates the names of other projects and resamples position embeddings to the image size. Raises RuntimeError
    where a tensor is missing, left over or of another shape, patches of another size among them.
    """
    wanted = timm_network(recipe["name"], recipe["variant"])
    config = pretrained_config(wanted)
    names = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ()
    weights = [tensors[f"{name}.weight"] for name in names if f"{name}.weight" in tensors]
    # timm is strict where the number of classes is its own, and lets anything be missing where it is not
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
    options: dict[str, Any] = {"drop_rate": dropout, "drop_path_rate": drop_path}
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
    except TypeError as error:
        for option, argument in (("dropout", "drop_rate"), ("drop-path", "drop_path_rate")):
            if f"'{argument}'" in str(error):
                raise UserError(f"--{option}: {name} has none; leave the option out") from None
        raise
