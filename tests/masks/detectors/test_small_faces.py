import gc
import importlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fertool.errors import UserError
from fertool.masks.agreement import measure_agreement
from fertool.masks.detectors import dlib as dlib_detector
from fertool.masks.detectors import mediapipe as mediapipe_detector
from fertool.masks.detectors.dlib import dlib_version
from fertool.masks.detectors.mediapipe import MEDIAPIPE_TO_68, to_68
from fertool.masks.detectors.small_faces import (
    DLIB,
    MEDIAPIPE,
    TEMPLATE,
    Detection,
    detect,
    enlarge,
    is_plausible,
)
from fertool.masks.detectors.template import mean_face
from fertool.masks.find_landmarks import Detectors, find_landmarks, running_detector
from fertool.masks.landmarks import MIRRORED, interocular_distance

SHAPE = (48, 48)
NEEDS_DLIB = pytest.mark.skipif(dlib_version() is None, reason="needs the extra dlib")


@pytest.fixture(scope="module", autouse=True)
def detectors_end_with_the_module() -> Iterator[None]:
    # MediaPipe complains if ended by the interpreter's end. Its import keeps an exception, and so the frames
    # that were then under way: it is imported where none of them holds a detector.
    importlib.import_module("mediapipe.tasks.python.vision")
    yield
    running_detector.cache_clear()
    gc.collect()


@pytest.fixture(scope="module")
def fer2013_sample(shared: Callable[[str], Path]) -> np.ndarray:
    """120 test faces of FER2013, evenly over the archive, uint8 (120, 48, 48)."""
    with zipfile.ZipFile(shared("fer2013/fer2013.zip")) as archive:
        names = sorted(name for name in archive.namelist() if "PrivateTest" in name)
        chosen = names[:: len(names) // 120][:120]
        files = [np.frombuffer(archive.read(name), np.uint8) for name in chosen]
    return np.stack([cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files])


def test_mapping_takes_68_points_once_each() -> None:
    used = [index for indices in MEDIAPIPE_TO_68 for index in indices]
    assert len(MEDIAPIPE_TO_68) == 68
    assert max(used) < 468  # what both sizes of the mesh have; the other ten are irises
    assert len(set(MEDIAPIPE_TO_68)) == 68
    points = np.random.default_rng(0).random((2, 478, 2))
    np.testing.assert_allclose(to_68(points)[:, 1], (points[:, 93] + points[:, 227]) / 2)
    np.testing.assert_allclose(to_68(points)[:, 30], points[:, 4])


def test_detected_points_come_back_in_the_faces_pixels() -> None:
    known = mean_face(SHAPE)
    seen = []

    def detector(picture: np.ndarray) -> list[Detection]:
        seen.append(picture.shape)
        if len(seen) < 3:
            return []
        padding = (picture.shape[0] / 4 - 48) / 2
        an_ear = Detection((known / 4 + 12 + padding) * 4, 0.9)
        return [an_ear, Detection((known + padding) * 4, 0.5)]

    found = detect(np.zeros(SHAPE, np.uint8), detector, (1 / 4, 1 / 2, 1 / 8, 0))
    assert found is not None
    assert seen == [(288, 288, 3), (384, 384, 3), (240, 240, 3)]
    np.testing.assert_allclose(found.landmarks, known, atol=1e-3)
    assert found.confidence == 0.5


def test_enlarging_keeps_places() -> None:
    face = np.zeros(SHAPE, np.uint8)
    face[20:22, 30:32] = 255  # its centre lies at x 31, y 21
    picture, scale, border_px = enlarge(face, 1 / 4)
    weights = picture[..., 0].astype(float)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    centre = [(weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()]
    np.testing.assert_allclose(np.array(centre) / scale - border_px, [31, 21], atol=0.05)


def test_large_faces_are_not_enlarged() -> None:
    picture, scale, _ = enlarge(np.zeros((300, 200, 3), np.uint8), 0)
    assert picture.shape == (300, 200, 3)
    assert scale == 1


def test_what_cannot_be_the_face_is_not_found() -> None:
    face = mean_face(SHAPE)
    assert is_plausible(face, SHAPE)
    assert not is_plausible((face - 24) * 0.3 + 24, SHAPE)  # an ear
    assert not is_plausible((face - 24) * [0.05, 1] + 24, SHAPE)  # eyes on top of each other
    assert not is_plausible(face + 40, SHAPE)  # outside
    assert not is_plausible(np.full((68, 2), np.nan), SHAPE)


def test_nothing_found_gives_the_mean_face() -> None:
    found = find_landmarks(Detectors((), 0.3, None), np.zeros((2, 96, 64), np.uint8))
    np.testing.assert_array_equal(found["detector"], TEMPLATE)
    np.testing.assert_allclose(found["landmarks"][1], mean_face((96, 64)))
    assert np.isnan(found["confidence"]).all()


def test_agreement_is_in_interocular_distances() -> None:
    faces = np.stack([mean_face(SHAPE), mean_face(SHAPE) * 2, mean_face(SHAPE)])
    moved = faces + interocular_distance(faces)[:, None, None] * [0.1, 0]
    moved[2] += 1000  # a single stray face does not matter to a median
    measured = measure_agreement(faces, moved)
    assert measured["faces"] == 3
    assert measured["median_distance_iod"] == pytest.approx(0.1, abs=1e-4)
    assert measured["by_part_iod"]["mouth"] == pytest.approx(0.1, abs=1e-4)
    assert measure_agreement(faces[:0], faces[:0])["median_distance_iod"] is None


def test_dlibs_model_is_found_without_importing_its_package() -> None:
    dlib_version()
    assert "face_recognition_models" not in sys.modules


def test_dlib_is_missing_without_either_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlib_detector, "_predictor_file", lambda: None)
    assert dlib_version() is None


@NEEDS_DLIB
def test_mediapipe_and_dlib_on_real_faces(fer2013_sample: np.ndarray, shared: Callable[[str], Path]) -> None:
    model = shared("models/face_landmarker.task")
    found = find_landmarks(Detectors((MEDIAPIPE,), 0.3, model), fer2013_sample)
    by_dlib = find_landmarks(Detectors((DLIB,), 0.3, None), fer2013_sample)
    assert (found["detector"] == MEDIAPIPE).mean() >= 0.93
    assert (by_dlib["detector"] == DLIB).mean() > 0.6
    assert (by_dlib["confidence"][by_dlib["detector"] == DLIB] >= 0).all()
    both = (found["detector"] == MEDIAPIPE) & (by_dlib["detector"] == DLIB)
    measured = measure_agreement(found["landmarks"][both], by_dlib["landmarks"][both])
    assert measured["median_distance_iod"] < 0.06
    # a mapping with the sides mixed up is far off
    mixed = measure_agreement(found["landmarks"][both][:, MIRRORED], by_dlib["landmarks"][both])
    assert mixed["median_distance_iod"] > 0.5


def test_mediapipe_sees_no_face_in_noise(shared: Callable[[str], Path]) -> None:
    model = shared("models/face_landmarker.task")
    blank = np.stack([np.full(SHAPE, 128, np.uint8), np.zeros(SHAPE, np.uint8)])
    assert (find_landmarks(Detectors((MEDIAPIPE,), 0.3, model), blank)["detector"] == TEMPLATE).all()


def test_a_bundle_that_mediapipe_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "broken.task").write_bytes(b"not a bundle")
    with pytest.raises(UserError, match=r"broken\.task"):
        mediapipe_detector.mediapipe_detector(tmp_path / "broken.task", 0.3)
