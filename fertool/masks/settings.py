"""The settings of `make_masks`."""

from dataclasses import dataclass
from pathlib import Path

from fertool.errors import UserError
from fertool.masks.regions import DEFAULT_MARGIN_IOD

CHOICES = ("auto", "mediapipe", "dlib", "template")
DEFAULT_CONFIDENCE = 0.3


@dataclass(frozen=True)
class MaskSettings:
    """The options of `make_masks`. Raises UserError for a value outside its range.

    Args:
        detector: 'auto' takes the known landmarks of synthetic faces; for other faces MediaPipe's, where it finds
            none dlib's if installed, where that finds none the mean face's. 'mediapipe' and 'dlib' try that
            detector alone, then the mean face, on synthetic faces too; 'template' gives every face the mean face.
        confidence: least confidence, 0..1, of a face that MediaPipe finds.
        margin: how far regions are grown on all sides, in inter-ocular distances, 0..1.
        mediapipe_model: file of MediaPipe's Face Landmarker; None: FERTOOL_MEDIAPIPE_MODEL, the cache, a download.
        workers: number of processes that detect; None: one a core.
    """

    detector: str = "auto"
    confidence: float = DEFAULT_CONFIDENCE
    margin: float = DEFAULT_MARGIN_IOD
    mediapipe_model: Path | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raise UserError for a value outside its range."""
        if self.detector not in CHOICES:
            raise UserError(f"--detector {self.detector}: no such detector; there are {', '.join(CHOICES)}")
        if not 0 <= self.confidence <= 1:
            raise UserError(f"--confidence {self.confidence}: give a number from 0 to 1")
        if not 0 <= self.margin <= 1:
            raise UserError(f"--margin {self.margin}: give a share of the inter-ocular distance, from 0 to 1")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: give at least 1")
