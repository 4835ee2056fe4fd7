"""The number format that a model is trained in: that of the runs it is compared with, else the faster one."""

import copy
import statistics
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from fertool.models import FaceClassifier
from fertool.runtime.hardware import Compute, describe_hardware
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import freeze_all_but, trained_parameters, training_mode
from fertool.train.splits import TrainingFaces

ROUNDS = 4  # steps in each format; the first is not counted
FEW_FACES = 8
SLOW_S = 0.5  # a step of FEW_FACES faces that takes longer is trial enough
LEAST_SPEED_UP = 1.1  # bfloat16 is taken where it is at least so many times as fast


def agreed_precision(
    records: Iterable[Mapping[str, Any]], config: TrainConfig, image_size: int, compute: Compute
) -> str | None:
    """The number format of the runs that a new run will be compared with.

    A trial may come out otherwise the next time, but the seeds of a condition, and then a control and its counterpart,
    are to have one format.

    Args:
        records: the contents of the other runs' run.json.
        config: the new run's settings.
        image_size: pixels that its network sees.
        compute: its device.

    Returns:
        The format of a run of the same condition, else of one of the same network on such a machine; None where there
        is neither.
    """
    own = describe_hardware(compute)
    wanted = (config.model, config.batch_size, "auto", image_size, own["device"], own["name"])
    condition_format = network_format = None
    for record in records:
        settings, hardware = record["config"], record["hardware"]
        asked = settings.get("model"), settings.get("batch_size"), settings.get("precision")
        # records of earlier versions may lack some of it
        if (*asked, record.get("image_size"), hardware.get("device"), hardware.get("name")) == wanted:
            network_format = network_format or hardware["precision"]
            if record["condition"] == config.condition_name:
                condition_format = condition_format or hardware["precision"]
    return condition_format or network_format


def faster_precision(
    model: FaceClassifier, split: TrainingFaces, config: TrainConfig, compute: Compute
) -> str:
    """The number format to train in: bf16 where a few steps in it are clearly faster than in float32, else fp32.

    Some networks gain nothing from bfloat16. Model and random numbers stay as they are. Nothing is tried on a GPU: the
    answer is what `compute` says.
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

        def step_s(precision: str, rows: slice) -> float:
            started_s = time.perf_counter()
            batch_boxes = None if boxes is None else boxes[rows]
            with Compute(compute.device, precision).autocast(), copied.looking_at(batch_boxes):
                logits = copied(faces[rows])
            F.cross_entropy(logits.float(), labels[rows]).backward()
            return time.perf_counter() - started_s

        # a few faces are enough to tell for a large network
        rows = slice(FEW_FACES) if step_s("fp32", slice(FEW_FACES)) > SLOW_S else slice(count)
        fp32_s, bf16_s = (
            statistics.median([step_s(precision, rows) for _ in range(ROUNDS)][1:])
            for precision in ("fp32", "bf16")
        )
    return "bf16" if fp32_s >= LEAST_SPEED_UP * bf16_s else "fp32"
