"""Inputs of the suites that score heatmaps: a run's maps beside the null ones, and the classes they explain."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from fertool.errors import UserError
from fertool.explain.heatmaps import RectifiedMaps, null_maps
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import Request
from fertool.explain.targets import EVERY_CLASS, check_target, choose_classes
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.results.tables import run_label, said_of_runs


def maps_beside_nulls(evaluated: EvaluatedRun, request: Request, target: str) -> dict[str, RectifiedMaps]:
    """Rectified maps (N, h, w) of an explainer, first, and of the null explanations, by name.

    The explainer's are stored. The nulls' are made as they are read: that is quick, and stored they would take more
    room than everything else that a run has.
    """
    own = evaluated.heatmaps(request, target)
    beside = own if request.null is None else evaluated.heatmaps(request.beside, target)
    return {request.key: RectifiedMaps(own.raw.shape, own.rectified)} | {
        name: null_maps(null, beside, evaluated.faces) for name, null in NULLS.items()
    }


def with_heat(maps: Iterable[RectifiedMaps]) -> np.ndarray:
    """The faces without an empty map among several explanations, bool (N,)."""
    return np.all([maps_of_one.with_heat() for maps_of_one in maps], axis=0)


def faces_counted(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Notes for a table: the number of faces that each run's figures are of, and why others are left out."""

    def counted(run: Mapping[str, Any]) -> str:
        left_out = (f", {count:,} left out ({why})" for why, count in run["left_out"].items() if count)
        return f"{run['counted']:,} of {run['faces']:,} faces scored{''.join(left_out)}."

    return said_of_runs({run_label(run): counted(run) for run in runs})


def cam_layers(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The layer that each run's maps come from, for a table's notes; nothing where the explainer reads none."""
    return said_of_runs(
        {
            run_label(run): f"maps of the layer {run['cam_layer']}." if run.get("cam_layer") else None
            for run in runs
        }
    )


def explained_classes(evaluated: EvaluatedRun, target: str) -> np.ndarray:
    """The class that each face's map is asked about, int64 (N,). Raises UserError for `all`: one at a time."""
    check_target(target, evaluated.classes)
    if target == EVERY_CLASS:
        raise UserError(f"--target {target}: these figures are of one class; name it, or predicted, or label")
    choose = choose_classes(target, evaluated.classes, torch.from_numpy(evaluated.labels))
    return choose(torch.from_numpy(evaluated.logits))[:, 0].numpy()
