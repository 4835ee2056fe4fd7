"""From 68 landmarks to the face's outline and to the region map: one region code a pixel.

The polygons, in inter-ocular distances (IOD, between the outer corners of the eyes):

- mouth: the hull of the outer lips; the inside of an open mouth belongs to it;
- nose: the hull of bridge, tip and nostrils, as wide as the wings of the nose, which the 68 points leave out;
- eyes: the hull of each eye, with its lids;
- eyebrows: iBUG's brow points run along the upper half of the hair; each brow is the band under them;
- face contour: everything else inside the outline, the forehead included, and the skin between the features of a
  profile that stand out beyond it (the hulls of brows and nose, of nose and mouth, of mouth and chin);
- background: everything outside.

Each of the four features is then grown on all sides by the margin. Where they overlap, a pixel goes to
eyebrows before eyes before mouth before nose before face contour before background: a frowning brow comes
down over the lid, the upper lip of a grin over the nostrils. A feature that reaches over the outline (the
nose of a profile) keeps its pixels. Every map is drawn several times finer than the face, and each pixel
takes the region that covers most of it (the first in that order where two cover the same), so the regions partition the
picture.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from fertool.masks.landmarks import (
    AROUND_CHIN,
    BROWS,
    CHIN,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_NOSTRIL,
    NOSE,
    NOSE_BRIDGE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_NOSTRIL,
    interocular_distance,
)

REGIONS = ("background", "face contour", "eyes", "eyebrows", "nose", "mouth")
BACKGROUND, FACE_CONTOUR, EYES, EYEBROWS, NOSE_REGION, MOUTH = range(len(REGIONS))
WINS = (EYEBROWS, EYES, MOUTH, NOSE_REGION, FACE_CONTOUR, BACKGROUND)

DEFAULT_MARGIN_IOD = 0.04

# Height of the forehead's top above the brows, as a share of the way from chin to brows: the median over
# 3,850 faces of FER2013 of the place on that line of the top of MediaPipe's face oval (its point 10). The point
# so found is 0.056 IOD (median) from MediaPipe's own, 0.042 on near-frontal faces: the closest of the lines through
# points of jaw and brows alone that were tried.
FOREHEAD_HEIGHT = 0.237
# The arc is the upper half of |x|^2.75 + |y|^2.75 = 1 between the jaw's ends: the exponent that comes closest
# to the rest of MediaPipe's oval on the same faces (0.035 IOD away in the median; an ellipse, 0.049).
FOREHEAD_POWER = 2 / 2.75
FOREHEAD_POINTS = 13

UPPER_LID_IOD = 0.07
LOWER_LID_IOD = 0.03
BROW_THICKNESS_IOD = 0.05
BRIDGE_HALF_WIDTH_IOD = 0.05
NOSE_WING_IOD = 0.06

# A turned head shortens the inter-ocular distance, not the lips' thickness: for the widths above and the
# margin it counts as no less than this share of the way from chin to brows, which 99% of near-frontal faces
# of FER2013 exceed.
LEAST_IOD_OF_HEIGHT = 0.6

FINE_SIDE = 288  # the side, in pixels, that a face is drawn at before it is brought down to its own
SHIFT = 4  # cv2 draws at coordinates of 1/16 pixel


def face_outline(landmarks: np.ndarray) -> np.ndarray:
    """The outline of faces, alike for all detectors: the jaw's 17 points, then an arc over the forehead.

    `landmarks` (..., 68, 2); returns (..., 30, 2) in the same unit. The arc runs from the jaw's last point to
    its first, over a top that lies on the line from the chin through the middle of the brows.
    """
    right_end, left_end = landmarks[..., 0, :], landmarks[..., 16, :]
    middle, half_width = (right_end + left_end) / 2, (left_end - right_end) / 2
    brows = landmarks[..., BROWS, :].mean(axis=-2)
    top = brows + FOREHEAD_HEIGHT * (brows - landmarks[..., CHIN, :])
    angles = np.linspace(0, np.pi, FOREHEAD_POINTS + 2)[1:-1]
    across = (np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** FOREHEAD_POWER)[:, None]
    upwards = (np.sin(angles) ** FOREHEAD_POWER)[:, None]
    arc = middle[..., None, :] + across * half_width[..., None, :] + upwards * (top - middle)[..., None, :]
    return np.concatenate([landmarks[..., JAW, :], arc], axis=-2)


def region_map(
    landmarks: np.ndarray, shape: tuple[int, int], margin: float = DEFAULT_MARGIN_IOD
) -> np.ndarray:
    """The region codes, uint8 `shape` (H, W), of the face with these landmarks (68, 2), in pixels.

    `margin` is how far each feature is grown, as a share of the inter-ocular distance.
    """
    fineness = int(np.clip(round(FINE_SIDE / max(shape)), 2, 16))
    canvas = np.zeros((shape[0] * fineness, shape[1] * fineness), np.uint8)
    points = np.asarray(landmarks, np.float64) * fineness
    upwards = points[BROWS].mean(axis=0) - points[CHIN]
    height = max(float(np.linalg.norm(upwards)), 1e-9)
    upwards /= height
    iod = max(float(interocular_distance(points)), LEAST_IOD_OF_HEIGHT * height)
    across = np.array([-upwards[1], upwards[0]])

    def fill(polygon: np.ndarray, code: int, growth: float) -> None:
        corners = _fixed_point(polygon)
        cv2.fillPoly(canvas, [corners], code, cv2.LINE_8, SHIFT)
        width = round(2 * growth)
        if width >= 2:  # a polygon and a stroke of width w along its edge are the polygon grown by w / 2
            cv2.polylines(canvas, [corners], True, code, width, cv2.LINE_8, SHIFT)

    for skin in (
        face_outline(points),
        np.concatenate([points[BROWS], points[NOSE]]),
        np.concatenate([points[NOSE], points[OUTER_LIPS]]),
        np.concatenate([points[OUTER_LIPS], points[AROUND_CHIN]]),
    ):
        fill(_hull(skin), FACE_CONTOUR, 0)

    wings = NOSE_WING_IOD * iod * (across + upwards)
    nose = [
        points[NOSE],
        points[NOSE_BRIDGE] + BRIDGE_HALF_WIDTH_IOD * iod * np.array([across, -across]),
        points[RIGHT_NOSTRIL] + NOSE_WING_IOD * iod * np.array([upwards - across, -across]),
        points[LEFT_NOSTRIL] + np.array([wings, wings - NOSE_WING_IOD * iod * upwards]),
    ]
    fill(_hull(np.concatenate(nose)), NOSE_REGION, margin * iod)
    fill(_hull(points[OUTER_LIPS]), MOUTH, margin * iod)
    for eye in (points[RIGHT_EYE], points[LEFT_EYE]):
        lids = np.concatenate([eye, eye[1:3] + UPPER_LID_IOD * iod * upwards])
        lids = np.concatenate([lids, eye[4:6] - LOWER_LID_IOD * iod * upwards])
        fill(_hull(lids), EYES, margin * iod)
    for brow in (points[RIGHT_BROW], points[LEFT_BROW]):
        band = np.concatenate([brow, brow[::-1] - BROW_THICKNESS_IOD * iod * upwards])
        fill(band, EYEBROWS, margin * iod)

    return most_covering(canvas, fineness, WINS)


def region_maps(
    landmarks: np.ndarray, shape: tuple[int, int], margin: float = DEFAULT_MARGIN_IOD
) -> np.ndarray:
    """The region maps, uint8 (N, H, W), of N faces with landmarks (N, 68, 2); see `region_map`."""
    maps = np.empty((len(landmarks), *shape), np.uint8)
    for index, face in enumerate(landmarks):
        maps[index] = region_map(face, shape, margin)
    return maps


def most_covering(canvas: np.ndarray, fineness: int, order: Sequence[int]) -> np.ndarray:
    """The region that covers most of each pixel; the first in `order`, which names every code, where two are equal.

    `canvas`, uint8 (H * fineness, W * fineness), holds region codes; returns uint8 (H, W).
    """
    size = (canvas.shape[1] // fineness, canvas.shape[0] // fineness)
    covered = [
        cv2.resize((canvas == code).astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
        for code in order
    ]
    return np.array(order, np.uint8)[np.argmax(covered, axis=0)]


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def _fixed_point(points: np.ndarray) -> np.ndarray:
    # cv2 counts from the centre of the first pixel, landmarks from its corner
    return np.round((points - 0.5) * 2**SHIFT).astype(np.int32)
