"""The 68 landmarks of iBUG 300-W (Sagonas et al., 2013); every detector's points are brought to them.

'Right' and 'left' are the pictured person's: the right eye is on the picture's left.
Coordinates are x, then y, in pixels of the face as stored; the centre of pixel (column i, row j) lies at
(i + 0.5, j + 0.5), so that coordinates scale with the picture.
"""

import numpy as np

JAW = slice(0, 17)
RIGHT_BROW = slice(17, 22)
LEFT_BROW = slice(22, 27)
BROWS = slice(17, 27)
NOSE = slice(27, 36)
RIGHT_EYE = slice(36, 42)
LEFT_EYE = slice(42, 48)
EYES = slice(36, 48)
MOUTH = slice(48, 68)
OUTER_LIPS = slice(48, 60)

CHIN = 8
AROUND_CHIN = slice(6, 11)
NOSE_BRIDGE = 27
RIGHT_NOSTRIL = 31
LEFT_NOSTRIL = 35
RIGHT_EYE_OUTER_CORNER = 36
LEFT_EYE_OUTER_CORNER = 45

PARTS = {"jaw": JAW, "eyebrows": BROWS, "nose": NOSE, "eyes": EYES, "mouth": MOUTH}

# the point that each point becomes when the picture is mirrored
MIRRORED = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65),
    ]
)


def interocular_distance(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the outer corners of the eyes, by which 300-W normalises.

    `landmarks` are (..., 68, 2); the distances are (...), in the landmarks' unit.
    """
    return np.linalg.norm(
        landmarks[..., LEFT_EYE_OUTER_CORNER, :] - landmarks[..., RIGHT_EYE_OUTER_CORNER, :], axis=-1
    )


def turns_to_upright(landmarks: np.ndarray) -> np.ndarray:
    """The quarter turns, counter-clockwise, that make each face (N, 68, 2) upright: int64 (N,), 0 to 3."""
    eyes = landmarks[:, LEFT_EYE_OUTER_CORNER] - landmarks[:, RIGHT_EYE_OUTER_CORNER]
    # y points downwards: a face whose eyes run down the picture lies clockwise, and is turned counter-clockwise
    angles = np.arctan2(eyes[:, 1], eyes[:, 0])
    return np.round(angles / (np.pi / 2)).astype(np.int64) % 4


def face_boxes(landmarks: np.ndarray) -> np.ndarray:
    """The boxes (..., 4) around landmarks (..., 68, 2): x0, y0, x1, y1."""
    return np.concatenate([landmarks.min(axis=-2), landmarks.max(axis=-2)], axis=-1)
