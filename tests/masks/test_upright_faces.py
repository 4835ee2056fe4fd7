from pathlib import Path

import numpy as np
import pytest

from fertool.masks import upright_faces
from fertool.masks.detectors.template import mean_face
from fertool.masks.photographs import PhotographDetectors
from fertool.masks.upright_faces import find_upright_faces, quarter_turns


@pytest.mark.parametrize("turns", range(4))
def test_a_photograph_that_lies_is_turned_until_its_faces_are_upright(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the detector does: it may find a lying face, and find it lying."""
    upright, face = np.zeros((300, 200, 3), np.uint8), mean_face((100, 100)) + np.array([40, 90])
    upright[90:190, 40:140] = 200

    def turned(landmarks: np.ndarray, times: int) -> np.ndarray:
        height, width = 300, 200
        for _ in range(times % 4):  # counter-clockwise: x goes up, y goes left
            landmarks, (height, width) = (
                np.stack([landmarks[:, 1], width - landmarks[:, 0]], axis=1),
                (width, height),
            )
        return landmarks

    lying = np.rot90(upright, turns)
    assert quarter_turns(turned(face, turns)[None]) == -turns % 4

    def find(detectors: PhotographDetectors, photograph: np.ndarray) -> tuple[np.ndarray, str | None]:
        (times,) = [k for k in range(4) if np.array_equal(photograph, np.rot90(upright, k))]
        return turned(face, times)[None], "mediapipe"

    monkeypatch.setattr(upright_faces, "find_faces", find)
    detectors = PhotographDetectors(Path("model"), dlib=False)
    landmarks, _, done = find_upright_faces(detectors, lying)
    assert done == -turns % 4 and np.allclose(landmarks[0], face)

    def find_upright(detectors: PhotographDetectors, photograph: np.ndarray) -> tuple[np.ndarray, str | None]:
        found, name = find(detectors, photograph)
        return (found, name) if np.allclose(found[0], face) else (np.zeros((0, 68, 2), np.float32), None)

    monkeypatch.setattr(upright_faces, "find_faces", find_upright)
    landmarks, _, done = find_upright_faces(detectors, lying)
    assert done == -turns % 4 and np.allclose(landmarks[0], face)
