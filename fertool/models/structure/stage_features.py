"""The stages of a network, and the pooled features that faces have there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.models.predict import GPU_BATCH_SIZE, face_batches
from fertool.models.structure.layers import classifier_layer, layers_seen
from fertool.models.structure.map_layers import map_layers
from fertool.runtime.hardware import Compute

BLOCKS_BETWEEN = 3  # every third block of a transformer is a stage, or more of them where it has few blocks
FEWEST_BLOCK_STAGES = 4
PRE_LOGITS = "pre-logits"


@dataclass(frozen=True)
class Stage:
    """A point in a network at which features are read."""

    name: str
    layer: str  # a submodule of the network
    reads_input: bool = False  # its input instead of its output


def find_stages(model: FaceClassifier) -> list[Stage]:
    """The stages of a network's first view, first to last; the last is the input of the layer of the logits.

    A transformer whose tokens keep their places has a stage at every third block and at the last; one of few blocks at
    more of them, so that it has four where it has four blocks. Another network has one at each layer that it declares
    itself (timm's `feature_info`), or else, at each resolution, at the last layer through which everything passes
    (`map_layers`): the end of a residual block, the activation behind a convolution.
    """
    view, (prefix, branch) = model.views[0], model.branches()[0]
    if view.attention_blocks:
        names = _blocks_read(view.attention_blocks)
    elif hasattr(branch, "feature_info"):
        declared: Any = branch.feature_info
        names = [f"{prefix}{info['module']}" for info in declared]
    else:
        names = [f"{prefix}{name}" for name in _last_at_each_resolution(model, branch)]
    there = {name for name, _ in model.network.named_modules()}
    last = classifier_layer(model)
    stages = [Stage(name, name) for name in names if name in there and name != last]
    return [*stages, Stage(PRE_LOGITS, last, reads_input=True)]


def stage_features(
    model: FaceClassifier,
    faces: np.ndarray,
    compute: Compute,
    boxes: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Pooled features of faces at every stage of the model's first view.

    Maps are averaged over their cells. The class token stands for the tokens where the head reads it, else the mean
    over the patches. Features of one axis are taken as they are. Where a layer runs several times, its last output
    counts.

    Args:
        model: the network.
        faces: uint8 (N, H, W) or (N, H, W, 3).
        compute: device and precision.
        boxes: (N, 4), those of the faces, for a model that needs them.
        rows: the faces that are wanted, int64 (n,); None: all of them, n = N.

    Returns:
        float32 (n, channels) for the name of each stage.
    """
    stages = find_stages(model)
    stage_at = {stage.layer: stage for stage in stages}
    features: dict[str, np.ndarray] = {}
    last_seen: dict[str, Tensor] = {}
    wanted = len(faces) if rows is None else len(rows)

    def see(layer: str, given: Tensor, output: Tensor) -> None:
        stage = stage_at[layer]
        last_seen[stage.name] = pool_features(model, given if stage.reads_input else output)

    with frozen_eval(model), layers_seen(model, list(stage_at), see), torch.inference_mode():
        start = 0
        for pixels, batch_boxes in face_batches(faces, boxes, compute.batch_size(GPU_BATCH_SIZE), rows):
            with model.looking_at(batch_boxes), compute.autocast():
                model(pixels.to(compute.device))
            for name, pooled in last_seen.items():
                # one block from the start, as in `predict_logits`
                if name not in features:
                    features[name] = np.empty((wanted, pooled.shape[1]), np.float32)
                features[name][start : start + len(pixels)] = pooled.float().cpu().numpy()
            start += len(pixels)
    return {stage.name: features[stage.name] for stage in stages}


def pool_features(model: FaceClassifier, activation: Tensor) -> Tensor:
    """The output of a layer, (B, C), (B, C, h, w), (B, h, w, C) or (B, tokens, C), pooled to features (B, C)."""
    if activation.ndim == 4:
        return activation.mean(dim=(1, 2) if model.maps_channels_last else (2, 3))
    if activation.ndim == 3:
        if model.tokens is None:
            return activation.mean(dim=1)
        if model.tokens.read:
            return activation[:, : model.tokens.read].mean(dim=1)
        return activation[:, model.tokens.prefix :].mean(dim=1)
    return activation


def _blocks_read(attention_blocks: Sequence[str]) -> list[str]:
    last = len(attention_blocks) - 1
    between = min(BLOCKS_BETWEEN, max(1, len(attention_blocks) // FEWEST_BLOCK_STAGES))
    chosen = sorted({*range(between - 1, last, between), last})
    # a block is the module that holds its attention
    return [attention_blocks[number].rpartition(".")[0] for number in chosen]


def _last_at_each_resolution(model: FaceClassifier, branch: nn.Module) -> list[str]:
    picture = model.input_spec.zeros().to(model.device)
    names: dict[int, str] = {}
    layers = map_layers(
        branch, picture, channels_last=model.maps_channels_last, tokens=model.tokens is not None
    )
    for layer in layers:
        if layer.cells > 1:  # a single cell is the same as the pre-logits
            names.pop(layer.cells, None)
            names[layer.cells] = layer.name
    return list(names.values())
