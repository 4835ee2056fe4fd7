"""Photographs as they are read, and the framing of the workspace's training faces."""

from pathlib import Path

import cv2
import numpy as np

from fertool.errors import UserError
from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.masks.detectors.template import mean_face
from fertool.masks.photographs import Framing, framing_of
from fertool.prepare.sources.decode import opencv_silent
from fertool.workspace import Workspace


def read_photograph(path: Path) -> np.ndarray:
    """The photograph as uint8 RGB (H, W, 3), turned as its EXIF says.

    Raises UserError where there is no such file, or it is no picture that OpenCV reads.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with opencv_silent():
        try:
            picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            picture = None
    if picture is None:
        raise UserError(f"{path}: no picture that OpenCV reads; convert it to JPEG or PNG")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def training_framing(workspace: Workspace) -> Framing:
    """The framing of the workspace's training faces: the median over the faces whose landmarks were found.

    Without masks, or where no face was found, it is `usual_framing`, FER2013's.
    """
    height, width = workspace.dataset()["image_shape"][:2]
    landmarks = mean_face((height, width))[None]
    if workspace.landmarks("train").exists():
        stored = workspace.load_landmarks("train", ["landmarks", "detector"])
        found = stored["landmarks"][stored["detector"] != TEMPLATE]
        landmarks = found if len(found) else landmarks
    return framing_of(landmarks, (height, width))
