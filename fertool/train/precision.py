"""Which number format trains a model faster on this machine, found by trying both."""

import copy
import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import freeze_all_but, trained_parameters, training_mode
from fertool.train.splits import TrainingFaces

ROUNDS = 4  # the first of each is not counted
FEW_FACES = 8
SLOW_S = 0.5  # for so many
WORTH = 1.1  # so many times as fast must bfloat16 be, or float32 stays


def faster_precision(
    model: FaceClassifier, split: TrainingFaces, config: TrainConfig, compute: Compute
) -> str:
    """The format to train in: bf16 where a few steps in it are clearly faster than in float32, else fp32.

    Some networks gain nothing from bfloat16, depthwise convolutions among them. Model and random numbers stay
    as they are. On a GPU nothing is tried: the answer is what `compute` says.
    """
    if compute.device.type != "cpu":
        return compute.precision
    count = min(config.batch_size, len(split.labels))
    faces, labels = torch.from_numpy(np.array(split.faces[:count])), torch.from_numpy(split.labels[:count])
    boxes = None if split.boxes is None else torch.from_numpy(np.array(split.boxes[:count]))
    with torch.random.fork_rng():
        copied = copy.deepcopy(model)
        freeze_all_but(copied, trained_parameters(copied, config, config.epochs))
        training_mode(copied)

        def seconds(precision: str, rows: slice) -> float:
            started_s = time.perf_counter()
            of_rows = None if boxes is None else boxes[rows]
            with Compute(compute.device, precision).autocast(), copied.looking_at(of_rows):
                logits = copied(faces[rows])
            F.cross_entropy(logits.float(), labels[rows]).backward()
            return time.perf_counter() - started_s

        # a large network says it on a few faces too
        rows = slice(FEW_FACES) if seconds("fp32", slice(FEW_FACES)) > SLOW_S else slice(count)
        taken = {
            precision: [seconds(precision, rows) for _ in range(ROUNDS)] for precision in ("fp32", "bf16")
        }
    fp32_s, bf16_s = (statistics.median(of[1:]) for of in taken.values())
    return "bf16" if fp32_s >= WORTH * bf16_s else "fp32"
