"""Faces of photographs that lie on their side. Worker processes import it: here, where nothing needs torch."""

import numpy as np

from fertool.masks.landmarks import turns_to_upright
from fertool.masks.photographs import PhotographDetectors, find_faces


def find_upright_faces(
    detectors: PhotographDetectors, photograph: np.ndarray
) -> tuple[np.ndarray, str | None, int]:
    """`find_faces` in the photograph turned so that its faces stand upright, though no EXIF says that it lies.

    Returns landmarks, in pixels of the turned photograph, the detector's name, and the number of quarter turns,
    counter-clockwise. A photograph in which no face is found is tried lying on either side, and upside down.
    """
    landmarks, detector = find_faces(detectors, photograph)
    turns = quarter_turns(landmarks)
    if len(landmarks) and turns == 0:
        return landmarks, detector, 0
    for tried in (turns,) if turns else (1, 3, 2):
        again, by = find_faces(detectors, np.ascontiguousarray(np.rot90(photograph, tried)))
        if len(again) and quarter_turns(again) == 0:
            return again, by, tried
    return landmarks, detector, 0


def quarter_turns(landmarks: np.ndarray) -> int:
    """The quarter turns, counter-clockwise, that make most of the faces (n, 68, 2) upright; 0 without faces."""
    if len(landmarks) == 0:
        return 0
    return int(np.bincount(turns_to_upright(landmarks), minlength=4).argmax())
