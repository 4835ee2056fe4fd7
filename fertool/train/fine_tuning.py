"""The parts of a pretrained network that train in each epoch."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fertool.models import FaceClassifier
from fertool.models.predict import GPU_BATCH_SIZE, Faces, face_batches
from fertool.models.structure.stages import parameter_stages
from fertool.runtime.hardware import Compute
from fertool.runtime.progress import progress_bar
from fertool.train.config import TrainConfig


def trained_parameters(model: FaceClassifier, config: TrainConfig, epoch: int) -> set[str]:
    """The names of the parameters that train in an epoch, counted from 1."""
    *stages, head = parameter_stages(model)
    unfrozen = 0 if epoch <= config.freeze_epochs or config.unfreeze == "none" else len(stages)
    if unfrozen and config.unfreeze.startswith("last:"):
        unfrozen = min(unfrozen, int(config.unfreeze.partition(":")[2]))
    return {name for stage in [*stages[len(stages) - unfrozen :], head] for name in stage}


def freeze_all_but(model: FaceClassifier, names: set[str]) -> None:
    """Let the parameters of these names train; for the others no gradient is computed."""
    for name, parameter in model.network.named_parameters():
        parameter.requires_grad_(name in names)


def training_mode(model: FaceClassifier) -> None:
    """Put modules that train into training mode, and modules whose parameters are all frozen into evaluation mode.

    So the statistics of frozen batch norms stay, and dropout and drop path inside frozen blocks are off. A batch norm
    without parameters is treated like the modules before it.
    """
    model.train()
    trains_before = False  # in the order in which modules are registered
    freezes = not all(parameter.requires_grad for parameter in model.network.parameters())
    for module in model.network.modules():
        flags = [parameter.requires_grad for parameter in module.parameters()]
        trains_before |= any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        bare_norm = isinstance(module, _BatchNorm) and not flags  # without scale and shift
        if (flags and not any(flags)) or (bare_norm and freezes and not trains_before):
            module.eval()


def frozen_backbone(model: FaceClassifier, names: set[str]) -> bool:
    """Whether the names are those of the head's parameters, and no others."""
    return bool(model.head) and names == set(parameter_stages(model)[-1])


@torch.no_grad()
def head_inputs(
    model: FaceClassifier, faces: Faces, boxes: np.ndarray | None, compute: Compute
) -> Tensor | None:
    """The input of the head for each face, (N, ...), in evaluation mode.

    With a frozen backbone and faces that are not augmented, training needs nothing else of the network. None where this
    does not hold: the logits are not the head's output alone, or dropout before the head is drawn anew each step.
    """
    seen: list[Tensor] = []
    head = model.layer(model.head)
    was_training = model.training
    size = compute.batch_size(GPU_BATCH_SIZE)

    def logits_of(pixels: Tensor, batch_boxes: Tensor | None) -> Tensor:
        with model.looking_at(batch_boxes):
            return model(pixels.to(compute.device))

    hook = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        with (
            hook,
            compute.autocast(),
            progress_bar("features of the frozen backbone", len(faces), "faces") as bar,
        ):
            training_mode(model)
            with torch.random.fork_rng():
                logits_of(*next(face_batches(faces, boxes, size)))
            in_training = seen.pop()
            model.eval()
            for pixels, batch_boxes in face_batches(faces, boxes, size):
                logits = logits_of(pixels, batch_boxes)
                if not torch.equal(_apply(head, seen[-1]), logits):
                    return None
                if len(seen) == 1 and not torch.equal(seen[0], in_training):
                    return None
                bar.update(len(pixels))
    finally:
        model.train(was_training)
    return torch.cat(seen)


def _apply(head: nn.Module, features: Tensor) -> Tensor:
    # hooks on the head are not to see this, the one above among them
    return head.forward(features)
