"""The effect of each facial action unit on a face's landmarks.

Lengths are in distances between the eyes' centres, x to the right of the picture, y downwards; 'left' and
'right' are the picture's. Landmarks are in iBUG's 68-point order (C. Sagonas et al., '300 Faces In-The-Wild
Challenge', 2016).
"""

from collections.abc import Mapping

import numpy as np

from fertool.masks.emfacs import EMFACS
from fertool.masks.landmarks import BROWS, EYES, JAW, MIRRORED, MOUTH, NOSE
from fertool.prepare.emotions import EMOTIONS

FEATURES = {"face": JAW, "eyebrows": BROWS, "nose": NOSE, "eyes": EYES, "mouth": MOUTH}
"""The parts of a face that can each show an emotion of their own, with their landmarks, in landmark order."""

# Action unit -> landmark on the left or on the midline -> displacement (dx, dy) at intensity 1; the right
# half of the face mirrors the left. Directions are the coding system's description of each unit; sizes were
# chosen so that expressions can be told at 48 pixels.
_DISPLACEMENTS: dict[int, dict[int, tuple[float, float]]] = {
    # inner brow raiser; it lifts the inner part of the upper lid a little
    1: {21: (0.0, -0.24), 20: (0.0, -0.16), 19: (0.0, -0.06), 38: (0.0, -0.02)},
    # outer brow raiser
    2: {17: (0.0, -0.14), 18: (0.0, -0.19), 19: (0.0, -0.14), 20: (0.0, -0.03)},
    # brow lowerer: down and together
    4: {
        21: (0.09, 0.15), 20: (0.07, 0.13), 19: (0.05, 0.10), 18: (0.03, 0.06), 17: (0.01, 0.02),
        37: (0.0, 0.01), 38: (0.0, 0.02),
    },
    # upper lid raiser
    5: {37: (0.0, -0.09), 38: (0.0, -0.09)},
    # cheek raiser: lower lid up, eye narrowed
    6: {36: (0.0, 0.02), 37: (0.0, 0.03), 38: (0.0, 0.01), 40: (0.0, -0.07), 41: (0.0, -0.07)},
    # lid tightener
    7: {37: (0.0, 0.015), 38: (0.0, 0.015), 40: (0.0, -0.05), 41: (0.0, -0.05)},
    # nose wrinkler: nose and its wings up, inner brows down, upper lip up, eyes narrowed
    9: {
        20: (0.03, 0.07), 21: (0.04, 0.11), 29: (0.0, -0.04), 30: (0.0, -0.08), 31: (-0.04, -0.10),
        32: (-0.01, -0.08), 33: (0.0, -0.06), 37: (0.0, 0.03), 38: (0.0, 0.03), 40: (0.0, -0.03),
        41: (0.0, -0.03), 49: (0.0, -0.05), 50: (0.0, -0.08), 51: (0.0, -0.06), 61: (0.0, -0.05),
        62: (0.0, -0.04),
    },
    # upper lip raiser: the lip's middle parts go up and bare the teeth
    10: {
        49: (-0.02, -0.10), 50: (0.0, -0.13), 51: (0.0, -0.09), 60: (0.0, -0.01), 61: (0.0, -0.14),
        62: (0.0, -0.10), 31: (-0.02, -0.02),
    },
    # lip corner puller: out and up
    12: {
        48: (-0.17, -0.17), 60: (-0.16, -0.16), 49: (-0.10, -0.06), 50: (-0.03, 0.02), 51: (0.0, 0.03),
        59: (-0.11, -0.05), 58: (-0.03, 0.03), 57: (0.0, 0.04), 61: (-0.05, -0.01), 62: (0.0, 0.03),
        67: (-0.05, 0.05), 66: (0.0, 0.08), 31: (-0.03, 0.0),
    },
    # lip corner depressor
    15: {
        48: (-0.02, 0.19), 60: (-0.02, 0.18), 49: (0.0, 0.07), 59: (-0.02, 0.10), 50: (0.0, -0.01),
        58: (0.0, -0.02), 57: (0.0, -0.03),
    },
    # lower lip depressor
    16: {59: (0.0, 0.06), 58: (0.0, 0.11), 57: (0.0, 0.11), 66: (0.0, 0.11), 67: (0.0, 0.11)},
    # lip stretcher: corners straight out
    20: {
        48: (-0.20, 0.07), 60: (-0.19, 0.07), 49: (-0.12, 0.03), 59: (-0.12, 0.04), 50: (-0.04, 0.01),
        58: (-0.06, 0.0), 61: (-0.06, 0.0), 67: (-0.08, 0.0),
    },
    # lip tightener: lips thin, the mouth narrow
    23: {
        48: (0.10, 0.0), 60: (0.09, 0.0), 49: (0.06, 0.05), 50: (0.02, 0.06), 51: (0.0, 0.06),
        59: (0.06, -0.05), 58: (0.02, -0.07), 57: (0.0, -0.07),
    },
    # lips part
    25: {
        58: (0.0, 0.11), 57: (0.0, 0.12), 59: (0.0, 0.07), 66: (0.0, 0.13), 67: (0.0, 0.12), 50: (0.0, -0.01),
        51: (0.0, -0.01), 61: (0.0, -0.02), 62: (0.0, -0.01),
    },
    # jaw drop: chin and lower lip down, the mouth open
    26: {
        3: (0.0, 0.02), 4: (0.01, 0.05), 5: (0.02, 0.09), 6: (0.02, 0.13), 7: (0.01, 0.16), 8: (0.0, 0.17),
        48: (0.10, 0.09), 60: (0.09, 0.09), 49: (0.03, -0.01), 50: (0.0, -0.03), 51: (0.0, -0.03),
        61: (0.02, -0.03), 62: (0.0, -0.04), 59: (0.06, 0.24), 58: (0.02, 0.32), 57: (0.0, 0.34),
        67: (0.02, 0.33), 66: (0.0, 0.36),
    },
}  # fmt: skip

ACTION_UNITS = tuple(_DISPLACEMENTS)

_RIGHT = np.zeros(68, dtype=bool)
_RIGHT[[*range(9, 17), *range(22, 27), 34, 35, *range(42, 48), *range(52, 57), 63, 64, 65]] = True

# The least intensity of the weaker side, as a share of the stronger's: no face is symmetric.
_WEAKER_SIDE = 0.85


def _displacement_field() -> np.ndarray:
    """The displacements of both halves of the face, float64 (action units, 68, 2)."""
    field = np.zeros((len(ACTION_UNITS), 68, 2))
    for row, displacements in enumerate(_DISPLACEMENTS.values()):
        for point, (dx, dy) in displacements.items():
            field[row, point] = dx, dy
            field[row, MIRRORED[point]] = (-dx if MIRRORED[point] != point else dx), dy
    return field


_FIELD = _displacement_field()
_LOWEST, _HIGHEST = (
    np.array([[EMFACS[emotion].get(unit, (0.0, 0.0))[end] for unit in ACTION_UNITS] for emotion in EMOTIONS])
    for end in (0, 1)
)


def intensities(emotions: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The intensity of each action unit in each feature of a face, left and right: float64 (2, action units).

    `emotions` gives the code of the emotion that each of `FEATURES` shows. Features of one emotion show it
    at the same intensities.
    """
    level = rng.random(len(ACTION_UNITS))
    sides = np.ones((2, len(ACTION_UNITS)))
    sides[int(rng.random() < 0.5)] = rng.uniform(_WEAKER_SIDE, 1.0)
    return {
        feature: sides * (_LOWEST[code] + level * (_HIGHEST[code] - _LOWEST[code]))
        for feature, code in emotions.items()
    }


def displaced(neutral: np.ndarray, shown: np.ndarray, where: slice) -> np.ndarray:
    """The landmarks `where` of a neutral face, displaced by the action units `shown` (2, action units)."""
    left, right = (shown @ _FIELD.reshape(len(ACTION_UNITS), -1)).reshape(2, 68, 2)[:, where]
    return neutral[where] + np.where(_RIGHT[where, None], right, left)
