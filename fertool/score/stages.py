"""The stages of a network, and the pooled features that faces have there."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fertool.hardware import Compute
from fertool.models import FaceClassifier
from fertool.models.predict import face_batches
from fertool.score.layers import classifier_layer, layers_seen, try_out

BLOCKS_BETWEEN = 3  # of a transformer every third block is a stage
PRE_LOGITS = "pre-logits"


@dataclass(frozen=True)
class Stage:
    """A place in a network where features are read."""

    name: str
    layer: str  # a submodule of the network
    reads_input: bool = False  # what goes into it, not what comes out


def find_stages(model: FaceClassifier) -> list[Stage]:
    """The stages of a network, first to last; the last is always what goes into the layer of the logits.

    Of a transformer whose tokens keep their places, every third block and the last. Of another network, where
    the resolution falls: the layers that it declares itself (timm's `feature_info`), else the first layer at
    each resolution coarser than the one before (the poolings of `cnn`).
    """
    if model.tokens is not None:
        names = _every_third_block(model)
    elif hasattr(model.network, "feature_info"):
        names = [info["module"] for info in model.network.feature_info]
    else:
        names = _where_resolution_falls(model)
    there = {name for name, _ in model.network.named_modules()}
    stages = [Stage(name, name) for name in names if name in there]
    return [*stages, Stage(PRE_LOGITS, classifier_layer(model), reads_input=True)]


def stage_features(
    model: FaceClassifier, faces: np.ndarray, compute: Compute, boxes: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Pooled features of faces, uint8 (N, H, W[, 3]), at every stage: float32 (N, channels) a stage's name.

    `boxes` (N, 4) are where the faces lie, for a model that asks; its stages are those of its first view.

    Maps are averaged over their cells. Of tokens the class token is taken where the head reads it, else the
    mean over the patches. Features of one axis are taken as they are.
    """
    stages = find_stages(model)
    of_layer = {stage.layer: stage for stage in stages}
    features: dict[str, list[np.ndarray]] = {stage.name: [] for stage in stages}

    def see(layer: str, given: Tensor, output: Tensor) -> None:
        stage = of_layer[layer]
        pooled = pool_features(model, given if stage.reads_input else output)
        features[stage.name].append(pooled.float().cpu().numpy())

    was_training = model.training
    model.eval()
    try:
        with layers_seen(model, list(of_layer), see), torch.inference_mode():
            for pixels, of_batch in face_batches(faces, boxes):
                with model.looking_at(of_batch), compute.autocast():
                    model(pixels.to(compute.device))
    finally:
        model.train(was_training)
    return {name: np.concatenate(batches) for name, batches in features.items()}


def pool_features(model: FaceClassifier, activation: Tensor) -> Tensor:
    """What a layer gives, (B, C), (B, C, h, w), (B, h, w, C) or (B, tokens, C), as features (B, C)."""
    if activation.ndim == 4:
        return activation.mean(dim=(1, 2) if model.maps_channels_last else (2, 3))
    if activation.ndim == 3:
        if model.tokens is None:
            return activation.mean(dim=1)
        if model.tokens.reads_class_token:
            return activation[:, 0]
        return activation[:, model.tokens.prefix :].mean(dim=1)
    return activation


def _every_third_block(model: FaceClassifier) -> list[str]:
    last = len(model.attention_blocks) - 1
    chosen = sorted({*range(BLOCKS_BETWEEN - 1, last, BLOCKS_BETWEEN), last})
    # a block is the module that holds its attention
    return [model.attention_blocks[number].rpartition(".")[0] for number in chosen]


def _where_resolution_falls(model: FaceClassifier) -> list[str]:
    sides: list[tuple[str, int]] = []

    def see(name: str, given: Tensor, output: Tensor) -> None:
        if output.ndim == 4:
            sides.append((name, output.shape[1 if model.maps_channels_last else 2]))

    leaves = [name for name, module in model.network.named_modules() if name and not any(module.children())]
    was_training = model.training
    model.eval()
    try:
        with layers_seen(model, leaves, see):
            try_out(model)
    finally:
        model.train(was_training)
    names, side = [], model.input_spec.size
    for name, of_layer in sides:
        if of_layer < side:
            names.append(name)
            side = of_layer
    return names
