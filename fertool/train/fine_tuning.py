"""What of a pretrained network trains in which epoch."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fertool.models import FaceClassifier
from fertool.models.predict import Faces, face_batches
from fertool.models.structure.stages import parameter_stages
from fertool.runtime.hardware import Compute
from fertool.runtime.progress import progress_bar
from fertool.train.config import TrainConfig


def trained_parameters(model: FaceClassifier, config: TrainConfig, epoch: int) -> set[str]:
    """Names of the parameters that train in an epoch, counted from 1."""
    *stages, head = parameter_stages(model)
    kept = 0 if epoch <= config.freeze_epochs or config.unfreeze == "none" else len(stages)
    if kept and config.unfreeze.startswith("last:"):
        kept = min(kept, int(config.unfreeze.partition(":")[2]))
    return {name for stage in [*stages[len(stages) - kept :], head] for name in stage}


def freeze_all_but(model: FaceClassifier, names: set[str]) -> None:
    """Let the parameters of these names train, and no others: those cost no gradient."""
    for name, parameter in model.network.named_parameters():
        parameter.requires_grad_(name in names)


def training_mode(model: FaceClassifier) -> None:
    """Training mode for what trains; evaluation mode for every module that holds frozen parameters alone.

    So the statistics of frozen batch norms stay, and dropout and drop path inside frozen blocks rest. A batch norm
    that holds no parameters goes with those before it.
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
    """Whether nothing but the head is among the names."""
    return bool(model.head) and names == set(parameter_stages(model)[-1])


@torch.no_grad()
def head_inputs(
    model: FaceClassifier, faces: Faces, boxes: np.ndarray | None, compute: Compute
) -> Tensor | None:
    """What the head is given for each face (N, ...), in evaluation mode.

    With a frozen backbone and faces that stay as they are this is all that training needs of the network. None
    where it is not: logits are more than the head's, or dropout before the head is drawn anew each step.
    """
    seen: list[Tensor] = []
    head = model.layer(model.head)
    was_training = model.training

    def logits_of(pixels: Tensor, of_batch: Tensor | None) -> Tensor:
        with model.looking_at(of_batch):
            return model(pixels.to(compute.device))

    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        with (
            hook,
            compute.autocast(),
            progress_bar("features of the frozen backbone", len(faces), "faces") as bar,
        ):
            training_mode(model)
            with torch.random.fork_rng():
                logits_of(*next(face_batches(faces, boxes)))
            in_training = seen.pop()
            model.eval()
            for pixels, of_batch in face_batches(faces, boxes):
                logits = logits_of(pixels, of_batch)
                if not torch.equal(_apply(head, seen[-1]), logits):
                    return None
                if len(seen) == 1 and not torch.equal(seen[0], in_training):
                    return None
                bar.update(len(pixels))
    finally:
        model.train(was_training)
    return torch.cat(seen)


def _apply(head: nn.Module, features: Tensor) -> Tensor:
    # hooks on the head, the one above among them, are not to see this
    return head.forward(features)
