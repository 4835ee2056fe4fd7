"""Which number format trains a model faster on this machine, found by trying both."""

import copy
import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from fertool.hardware import Compute
from fertool.models import FaceClassifier
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import freeze_all_but, trained_parameters, training_mode
from fertool.train.loop import LabelledFaces

ROUNDS = 4  # the first of each is not counted
WORTH = 1.1  # so many times as fast must bfloat16 be, or float32 stays


def faster_precision(
    model: FaceClassifier, split: LabelledFaces, config: TrainConfig, compute: Compute
) -> str:
    """ "bf16" where a few training steps in it are clearly faster than in float32 on the CPU, else "fp32".

    Some networks gain nothing from bfloat16, depthwise convolutions among them. Model and random numbers stay
    as they are. On a GPU nothing is tried: the answer is what `compute` says.
    """
    if compute.device.type != "cpu":
        return compute.precision
    rows = np.arange(min(config.batch_size, len(split.labels)))
    faces, labels = torch.from_numpy(np.array(split.faces[rows])), torch.from_numpy(split.labels[rows])
    boxes = None if split.boxes is None else torch.from_numpy(np.array(split.boxes[rows]))
    with torch.random.fork_rng():
        copied = copy.deepcopy(model)
        if copied.family == "cnn":
            copied.to(memory_format=torch.channels_last)
        freeze_all_but(copied, trained_parameters(copied, config, config.epochs))
        training_mode(copied)
        seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for _ in range(ROUNDS):
            for precision, taken in seconds.items():
                started_s = time.perf_counter()
                with Compute(compute.device, precision).autocast(), copied.looking_at(boxes):
                    logits = copied(faces)
                F.cross_entropy(logits.float(), labels).backward()
                taken.append(time.perf_counter() - started_s)
    fp32_s, bf16_s = (statistics.median(taken[1:]) for taken in seconds.values())
    return "bf16" if fp32_s >= WORTH * bf16_s else "fp32"
