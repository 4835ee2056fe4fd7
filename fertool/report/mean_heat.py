"""The mean heatmap of each emotion on the mean face, every face's map warped onto it by its landmarks."""

from dataclasses import dataclass

import numpy as np

from fertool.explain.explainer import rectify
from fertool.masks.regions import REGIONS, region_map
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence
from fertool.report.figures.mean_heat import heat_colours
from fertool.report.gallery.pictures import png_address
from fertool.report.mean_face import AT_ONCE, HEAT_SIDE, warp
from fertool.report.views import View
from fertool.runtime.reading import read_npy
from fertool.score.suites.region_shares import has_map
from fertool.score.suites.shares import pooled


@dataclass(frozen=True)
class HeatOfEmotion:
    """The mean heatmap of an emotion: the faces behind it, a data address, and in words where it is strongest."""

    emotion: str
    faces: int
    address: str
    words: str


@dataclass(frozen=True)
class HeatOfCondition:
    """The mean heatmaps of a condition, an emotion each, and the view that its maps are of."""

    name: str
    view: str
    emotions: list[HeatOfEmotion]


def heat_of_conditions(evidence: Evidence) -> list[HeatOfCondition]:
    """The mean heatmaps of each condition whose maps are stored, in the view that it is shown in first."""
    found = []
    for condition in evidence.conditions:
        view = evidence.main_view(condition)
        heat_by_emotion = mean_heat(evidence, condition, view) if view is not None else {}
        if view is not None and heat_by_emotion:
            emotions = [
                _picture(evidence, emotion, heat, faces) for emotion, (heat, faces) in heat_by_emotion.items()
            ]
            found.append(HeatOfCondition(condition.name, view.name, emotions))
    return found


def _picture(evidence: Evidence, emotion: str, heat: np.ndarray, faces: int) -> HeatOfEmotion:
    address = png_address((255 * heat_colours(heat)).round().astype(np.uint8))
    return HeatOfEmotion(emotion, faces, address, f"strongest on the {strongest_region(evidence, heat)}")


def strongest_region(evidence: Evidence, heat: np.ndarray) -> str:
    """The region of the mean face with the most heat a pixel."""
    mean_face = evidence.mean_face
    assert mean_face is not None
    codes = region_map(mean_face.mean_landmarks * HEAT_SIDE, (HEAT_SIDE, HEAT_SIDE))
    heat_by_region = {
        region: heat[codes == code].mean() for code, region in enumerate(REGIONS) if (codes == code).any()
    }
    return max(heat_by_region, key=lambda region: heat_by_region[region])


def mean_heat(evidence: Evidence, condition: Condition, view: View) -> dict[str, tuple[np.ndarray, int]]:
    """The mean heat on the mean face by emotion, (HEAT_SIDE, HEAT_SIDE), and how many faces it is over.

    A map that is the same everywhere has 1. Means are over all runs of the condition whose maps are stored, and over
    the faces that have landmarks and a map of each of them; emotions without any are left out.
    """
    mean_face, maps = evidence.mean_face, _stored_maps(evidence, condition, view)
    if mean_face is None or not maps:
        return {}
    counted = np.all([has_map(view.gathered.columns[run]) for run in maps], axis=0)[mean_face.rows]
    negatives = view.gathered.settings.request.explainer.negatives
    classes = len(evidence.classes)
    totals, counts = np.zeros((classes, HEAT_SIDE * HEAT_SIDE)), np.zeros(classes, int)
    for start in range(0, len(counted), AT_ONCE):
        chosen = start + np.flatnonzero(counted[start : start + AT_ONCE])
        rows = mean_face.rows[chosen]
        in_class = evidence.labels[rows] == np.arange(classes)[:, None]
        counts += in_class.sum(axis=1)
        for raw in maps.values():
            heat = rectify(np.asarray(raw[rows]), negatives)
            heat = heat if view.grid is None else pooled(heat, view.grid)
            warped = warp(heat / heat.mean(axis=(1, 2), keepdims=True), mean_face.heat_places[chosen])
            totals += in_class @ warped.reshape(len(rows), -1) / len(maps)
    return {
        emotion: ((totals[code] / counts[code]).reshape(HEAT_SIDE, HEAT_SIDE), int(counts[code]))
        for code, emotion in enumerate(evidence.classes)
        if counts[code]
    }


def _stored_maps(evidence: Evidence, condition: Condition, view: View) -> dict[str, np.ndarray]:
    """The raw maps of those of a condition's runs that are scored in a view and still have them, by run."""
    paths = {
        run.name: run.heatmaps(view.explainer, view.target, evidence.split)
        for run in condition.runs
        if run.name in view.gathered.columns
    }
    there = {name: path for name, path in paths.items() if path.exists()}
    for path in there.values():
        evidence.workspace.require_intact(path.with_suffix(".json"), path)
    return {name: read_npy(path, evidence.workspace.remedy(path)) for name, path in there.items()}
