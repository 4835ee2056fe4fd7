"""Maps of the action units that show an emotion, made from the landmarks.

The emotions' units are EMFACS' (`fertool.masks.emfacs`). A unit shows where its muscle moves the skin
(Ekman, Friesen and Hager 2002, 'Facial Action Coding System'); LANDMARKS names the points of the 68 that lie
there, as Belharbi et al. 2024, 'Guided Interpretable Facial Expression Recognition via Spatial Action Unit
Cues', build their maps. The map of a unit is the heatmap of its points (`fertool.masks.landmark_heatmaps`).
"""

import numpy as np

from fertool.masks.emfacs import EMFACS
from fertool.masks.landmark_heatmaps import landmark_heatmaps

LANDMARKS: dict[int, tuple[int, ...]] = {
    1: (20, 21, 22, 23),  # inner brow raiser: the brows' inner ends
    2: (17, 18, 25, 26),  # outer brow raiser: their outer ends
    4: (19, 20, 21, 22, 23, 24, 27),  # brow lowerer: the brows, and the root of the nose between them
    5: (37, 38, 43, 44),  # upper lid raiser
    6: (40, 41, 46, 47, 36, 45),  # cheek raiser: lower lids and the eyes' outer corners
    7: (37, 38, 40, 41, 43, 44, 46, 47),  # lid tightener
    9: (27, 28, 29, 31, 35),  # nose wrinkler: bridge and wings
    10: (31, 35, 50, 51, 52),  # upper lip raiser: upper lip and the wings above it
    12: (48, 54),  # lip corner puller
    15: (48, 54),  # lip corner depressor
    16: (56, 57, 58),  # lower lip depressor
    20: (48, 54, 59, 55),  # lip stretcher: corners, and the lower lip beside them
    23: (49, 51, 53, 55, 57, 59),  # lip tightener: the lips
    25: (61, 62, 63, 65, 66, 67),  # lips part
    26: (56, 57, 58, 8),  # jaw drop: lower lip and chin
}


def action_unit_maps(emotions: list[str], landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The action-unit map of each face's emotion, float32 (N, H, W), 0..1.

    `emotions` are N names; `landmarks` are float (N, 68, 2), in pixels; `shape` is (H, W). An emotion without units
    (neutral, or a class that EMFACS does not know) has a map of zeros.
    """
    maps = np.zeros((len(emotions), *shape), dtype=np.float32)
    for emotion in dict.fromkeys(emotions):
        rows = np.flatnonzero([name == emotion for name in emotions])
        maps[rows] = landmark_heatmaps(landmarks[rows], shape, _points(emotion))
    return maps


def has_action_units(emotion: str) -> bool:
    """Whether EMFACS knows action units of the emotion: without any its map is empty."""
    return bool(_points(emotion))


def _points(emotion: str) -> list[int]:
    return sorted({point for unit in EMFACS.get(emotion, {}) for point in LANDMARKS[unit]})
