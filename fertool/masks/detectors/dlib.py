"""dlib's HOG face detector and its 68-point shape predictor (Kazemi and Sullivan, 2014)."""

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.masks.detectors.small_faces import Detection, Detector, face_size
from fertool.runtime.package_files import INSTALL_DLIB, dlib_file

# Borders to try, as shares of the face's longer side. On the faces that MediaPipe misses they find all but a few
# of the faces that wider borders find too, in half the time.
DLIB_PADDINGS = (1 / 8, 0.0, 1 / 4)
LEAST_SCORE = 0.0  # dlib's own; a lower score adds as many wrong faces as right ones


def dlib_version() -> str | None:
    """The version of dlib, or None where it or its model files (extra `dlib`) are not installed."""
    if importlib.util.find_spec("dlib") is None or not _predictor_file():
        return None
    for distribution in ("dlib-bin", "dlib"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _predictor_file() -> Path | None:
    return dlib_file("shape_predictor_68_face_landmarks.dat")


def dlib_detector() -> Detector:
    """The detector: the largest face first, its confidence the HOG detector's score.

    Raises UserError where dlib is missing.
    """
    predictor_file = _predictor_file()
    if dlib_version() is None or predictor_file is None:
        raise UserError(f"--detector dlib: dlib is not installed; run {INSTALL_DLIB}")
    import dlib

    # dlib is compiled, without a word about its types
    find_boxes = dlib.get_frontal_face_detector()  # ty: ignore[missing-attribute]
    predict = dlib.shape_predictor(str(predictor_file))  # ty: ignore[missing-attribute]

    def find(picture: np.ndarray) -> list[Detection]:
        boxes, scores, _ = find_boxes.run(picture, 0, LEAST_SCORE)
        # dlib counts from the centre of the first pixel
        faces = [
            Detection(
                np.array([(p.x, p.y) for p in predict(picture, box).parts()], np.float32) + 0.5, float(score)
            )
            for box, score in zip(boxes, scores, strict=True)
        ]
        return sorted(faces, key=lambda face: face_size(face.landmarks), reverse=True)

    return find
