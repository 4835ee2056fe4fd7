"""The number format of pictures that no split holds: bfloat16 where that moves no figure by much, which is measured.

Accuracy and the mean probability of the label, which the figures of covered, spoilt and half-removed faces are made of,
are computed in both formats, on faces as they are and with half of each covered. bfloat16 is taken where each
differs by at most MOST_OF_INTERVAL of its 95% interval over the split's faces. It is measured once for a run and split,
on at most MOST_FACES, and the record is kept with the run.

Answers that bfloat16 leaves open, by a margin that is measured with the rest, are computed again in float32 (one in
twenty of `cnn`): counts of answers would move by more, for a hundredth of the answers flip.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.models.predictions import model_inputs
from fertool.runtime.files import write_record
from fertool.runtime.hardware import Compute
from fertool.runtime.progress import log
from fertool.runtime.reading import read_json
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.batched_forward import Network, NetworkOn, network_in
from fertool.score.perturbations.fills import load, mean_fill
from fertool.score.perturbations.seeded_draws import uniform_draws
from fertool.score.statistics.intervals import mean_interval

REVISION = 2
MOST_OF_INTERVAL = 0.1
MOST_FACES = 4000
BLOCK_FACES = 64
TILES = 6  # a side
MEASURED = (
    "accuracy",
    "accuracy, half covered",
    "probability of the label",
    "probability of the label, half covered",
)


def network_of(evaluated: EvaluatedRun) -> NetworkOn:
    """The run's network on pictures that no split holds, see `network_in`, in the number format that serves."""
    exact_on = network_in(evaluated, evaluated.compute)
    record = _record(evaluated.whole) if evaluated.tries_bfloat16 else None
    if record is None or not record["serves"]:
        return exact_on
    return _decided(
        network_in(evaluated, replace(evaluated.compute, precision="bf16")), exact_on, record["margin"]
    )


def _decided(quick_on: NetworkOn, exact_on: NetworkOn, margin: float) -> NetworkOn:
    """The quick network, but the exact one for pictures whose two largest logits differ by no more than the margin."""

    def network_on(rows: np.ndarray, boxes: Tensor | None = None) -> Network:
        quick = quick_on(rows, boxes)

        @torch.inference_mode()
        def network(pictures: Tensor) -> Tensor:
            logits = quick(pictures)
            first, second = logits.topk(2, dim=1).values.unbind(dim=1)
            undecided = torch.nonzero(first - second <= margin)[:, 0]
            if len(undecided):
                # pictures come in rounds of the rows
                of_rows = undecided.cpu() % len(rows)
                exact = exact_on(rows[of_rows.numpy()], None if boxes is None else boxes.cpu()[of_rows])
                logits[undecided] = exact(pictures[undecided])
            return logits

        return network

    return network_on


def picture_compute(evaluated: EvaluatedRun) -> Compute:
    """Device and number format for a run's pictures: the run's own, or bfloat16 where it may be tried and serves."""
    serves = evaluated.tries_bfloat16 and _record(evaluated.whole)["serves"]
    return replace(evaluated.compute, precision="bf16") if serves else evaluated.compute


def _record(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The record of both formats, made now unless it is up to date."""
    workspace, run, split = evaluated.workspace, evaluated.run, evaluated.split
    record = run.number_format(split)
    settings = {"device": evaluated.compute.device.type}
    made_from = workspace.made_from(REVISION, settings, model_inputs(workspace, run, split))
    if not workspace.is_current(record, made_from):
        measured = measure_formats(evaluated)
        write_record(record, measured | {"made_from": made_from})
        log.info("%s: %s", run.name, _in_words(measured))
    return read_json(record, workspace.remedy(record), {"serves": bool, "margin": float})


def measure_formats(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The differences that bfloat16 makes to accuracy and probability, of faces as they are and half covered.

    Returns:
        `faces`: number of faces. `serves`: whether no figure moves by more than MOST_OF_INTERVAL of its interval.
        `figures`, by name: `fp32`, `bf16`, `fp32_interval` over as many faces as the split has, and `of_interval`,
        the difference as a share of the interval's width. `margin`: by how much the distance from the largest logit in
        bfloat16 to the next shrinks in float32 at most: beyond it no answer of these faces flips.
    """
    faces = len(evaluated.labels)
    rows = np.sort(np.random.default_rng(0).permutation(faces)[:MOST_FACES])
    logits = {precision: _logits(evaluated, rows, precision) for precision in ("fp32", "bf16")}
    values = {precision: _values(own, evaluated.labels[rows]) for precision, own in logits.items()}
    low, high = mean_interval(values["fp32"], evaluated.clusters[rows])
    middle, narrower = values["fp32"].mean(axis=0), np.sqrt(len(rows) / faces)
    width = np.nan_to_num(high - low) * narrower
    difference = np.abs(values["bf16"].mean(axis=0) - middle)
    of_interval = np.divide(difference, width, out=np.where(difference > 0, np.inf, 0.0), where=width > 0)
    figures = {
        name: {
            "fp32": middle[number],
            "bf16": values["bf16"][:, number].mean(),
            "fp32_interval": (middle[number] + narrower * (limits[:, number] - middle[number])).tolist(),
            "of_interval": of_interval[number] if np.isfinite(of_interval[number]) else None,
        }
        for number, name in enumerate(MEASURED)
        for limits in [np.nan_to_num(np.stack([low, high]), nan=middle[number])]
    }
    return {
        "faces": len(rows),
        "serves": bool((of_interval <= MOST_OF_INTERVAL).all()),
        "margin": _margin(logits["bf16"], logits["fp32"]),
        "figures": figures,
    }


def _logits(evaluated: EvaluatedRun, rows: np.ndarray, precision: str) -> Tensor:
    """Logits of faces as they are and half covered, (2, n, C), in a number format."""
    network_on = network_in(evaluated, replace(evaluated.compute, precision=precision))
    blocks = []
    for start in range(0, len(rows), BLOCK_FACES):
        block = rows[start : start + BLOCK_FACES]
        faces = load(evaluated, block)
        covered = torch.where(_seen(block, faces), faces, mean_fill(faces))
        blocks.append(network_on(block)(torch.cat([faces, covered])).unflatten(0, (2, len(block))).cpu())
    return torch.cat(blocks, dim=1)


def _values(logits: Tensor, codes: np.ndarray) -> np.ndarray:
    """The values of each face that MEASURED names, (n, 4), from its logits (2, n, C) and label."""
    labels = torch.from_numpy(codes)
    right = (logits.argmax(dim=2) == labels).double()
    chances = logits.double().softmax(dim=2)[:, torch.arange(len(labels)), labels]
    return torch.cat([right, chances]).T.numpy()


def _margin(quick: Tensor, exact: Tensor) -> float:
    first, second = quick.topk(2, dim=2).values.unbind(dim=2)
    answer = quick.argmax(dim=2, keepdim=True)
    others = exact.scatter(2, answer, -torch.inf).amax(dim=2)
    shrunk = (first - second) - (exact.gather(2, answer)[..., 0] - others)
    return float(shrunk.clamp(min=0).max())


def _seen(rows: np.ndarray, faces: Tensor) -> Tensor:
    """The pixels that are not covered, bool (B, H, W[, 1]): a random half of TILES x TILES tiles of each face."""
    tiles = uniform_draws("covered tiles", 0, torch.from_numpy(rows).to(faces.device), TILES**2) < 0.5
    tiles = tiles.view(-1, 1, TILES, TILES).float()
    seen = F.interpolate(tiles, size=faces.shape[1:3], mode="nearest")[:, 0] > 0
    return seen[..., None] if faces.ndim == 4 else seen


def _in_words(record: dict[str, Any]) -> str:
    shares = [figure["of_interval"] for figure in record["figures"].values()]
    moved = "without bound" if None in shares else f"by up to {max(shares):.2f} of their interval"
    taken = "bfloat16 is taken" if record["serves"] else "float32 is taken"
    return f"bfloat16 moves accuracy and probability {moved}: {taken} for changed faces"
