"""Corruptions of faces, five severities each, on whole batches.

After ImageNet-C (Hendrycks and Dietterich 2019, 'Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations'), and what happens to pictures of faces: turned and shifted crops, sunglasses, masks. CORRUPTIONS,
at the end, is the table of severities. They are calibrated for 48-pixel faces and are shares of the picture's
side, of the range of brightness (0..255) or of the face's own lengths, so that faces of another size are
spoilt alike, as they are by an angle and by the number of pixels that downscaling leaves. Noise and JPEG are milder on
larger pictures: noise belongs to a pixel, and JPEG's blocks have eight pixels.

A face's draws (noise, a sign, a direction, a place) depend on seed and row and are the same at all five severities,
which differ in strength alone. Corrupted faces are rounded to uint8, as stored faces are. Beyond the border of a
turned or shifted picture its edge is repeated, as in training's augmentation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.masks.landmarks import (
    BROWS,
    CHIN,
    JAW,
    LEFT_EYE,
    LEFT_EYE_OUTER_CORNER,
    LEFT_NOSTRIL,
    NOSE_BRIDGE,
    RIGHT_EYE,
    RIGHT_EYE_OUTER_CORNER,
    RIGHT_NOSTRIL,
)
from fertool.masks.regions import LEAST_IOD_OF_HEIGHT
from fertool.models.moved_boxes import moved_boxes
from fertool.models.pixel_layout import channels_first, stored_layout
from fertool.score.perturbations.seeded_draws import normal_draws, uniform_draws

SEVERITIES = 5
RANGE = 255.0
BATCH_VALUES = 2**20  # pixels times colours of a batch: noise is drawn for each
MOST_FACES_A_BATCH = 512

LENS_BRIGHTNESS = 0.06  # of the range
MASK_BRIGHTNESS = 0.8
BOX_BRIGHTNESS = 0.5
SUBNASALE = 33  # under the nose, between the nostrils


@dataclass(frozen=True)
class FaceBatch:
    """Faces on their way to being corrupted."""

    planes: Tensor  # float32 (B, C, H, W), 0..255
    landmarks: Tensor  # float32 (B, 68, 2), pixels
    rows: Tensor  # int64 (B,), the faces' rows in their split


@dataclass(frozen=True)
class Corruption:
    """A way to spoil faces, mildest severity first."""

    name: str
    unit: str  # of the severities
    severities: tuple[float, float, float, float, float]
    apply: Callable[[FaceBatch, float, int], Tensor]  # batch, severity, seed -> planes, not yet rounded
    # where the picture moves: rows, shape (H, W), severity, seed -> where its points come from, (B, 2, 3), in half
    # sides from the middle, as torch's affine_grid takes it
    origin: Callable[[Tensor, tuple[int, int], float, int], Tensor] | None = None
    by_landmarks: bool = False  # drawn by them: wrong on a face whose landmarks were not found


def faces_at_once(faces: np.ndarray) -> int:
    """The number of faces (N, H, W[, 3]) to corrupt together: their memory is bounded."""
    return int(np.clip(BATCH_VALUES // faces[0].size, 1, MOST_FACES_A_BATCH))


def corrupt(
    corruption: Corruption, level: int, faces: Tensor, landmarks: Tensor, rows: Tensor, seed: int
) -> Tensor:
    """Corrupted faces.

    Args:
        corruption: how they are spoilt.
        level: severity, 1 (mildest) to 5.
        faces: uint8 (B, H, W) or (B, H, W, 3).
        landmarks: (B, 68, 2), in pixels.
        rows: the faces' rows in their split, (B,): random choices are drawn by seed and row.
        seed: seed of the random choices.

    Returns:
        The spoilt faces, uint8 of the shape of `faces`.
    """
    planes = channels_first(faces)
    batch = FaceBatch(planes.float(), landmarks.float(), rows)
    spoilt = corruption.apply(batch, corruption.severities[level - 1], seed)
    spoilt = spoilt.round().clamp(0, RANGE).to(torch.uint8)
    return stored_layout(spoilt)


def move_region_maps(
    corruption: Corruption, level: int, region_maps: Tensor, rows: Tensor, seed: int
) -> Tensor:
    """The region maps of corrupted faces: they move with the picture, if it moves.

    A pixel takes the region of the nearest pixel that it came from; what came from outside is background.

    Args:
        corruption: how the faces are spoilt.
        level: severity, 1 (mildest) to 5.
        region_maps: those of the clean faces, uint8 (B, H, W).
        rows: the faces' rows in their split, (B,), as `corrupt` had them.
        seed: as `corrupt` had it.

    Returns:
        The moved region maps, uint8 (B, H, W).
    """
    if corruption.origin is None:
        return region_maps
    shape = (region_maps.shape[1], region_maps.shape[2])
    theta = corruption.origin(rows, shape, corruption.severities[level - 1], seed)
    moved = F.grid_sample(
        region_maps[:, None].float(),
        _grid(theta, shape),
        mode="nearest",
        padding_mode="zeros",
        align_corners=False,
    )
    return moved[:, 0].to(torch.uint8)


def move_boxes(
    corruption: Corruption, level: int, boxes: Tensor, shape: tuple[int, int], rows: Tensor, seed: int
) -> Tensor:
    """The boxes of corrupted faces: they move with the picture, if it moves.

    Args:
        corruption: how the faces are spoilt.
        level: severity, 1 (mildest) to 5.
        boxes: those of the clean faces, (B, 4): left, top, right, bottom in pixels.
        shape: height and width of the pictures.
        rows: the faces' rows in their split, (B,), as `corrupt` had them.
        seed: as `corrupt` had it.

    Returns:
        The moved boxes, (B, 4); a turned box becomes the upright one around it.
    """
    if corruption.origin is None:
        return boxes
    theta = corruption.origin(rows, shape, corruption.severities[level - 1], seed)
    return moved_boxes(boxes, theta[:, :, :2], theta[:, :, 2], shape)


# --- the picture --------------------------------------------------------------------------------------------


def noise(batch: FaceBatch, severity: float, seed: int) -> Tensor:
    """Gaussian noise, independent in every pixel and colour."""
    values = batch.planes[0].numel()
    drawn = normal_draws("noise", seed, batch.rows, values).view_as(batch.planes)
    return batch.planes + severity * RANGE * drawn


def blur(batch: FaceBatch, severity: float, _seed: int) -> Tensor:
    """A Gaussian blur, the picture reflected at its edges."""
    from torchvision.transforms.functional import gaussian_blur

    deviation = severity * _side(batch.planes)
    size = 2 * math.ceil(3 * deviation) + 1
    return gaussian_blur(batch.planes, [size, size], [deviation, deviation])


def brightness(batch: FaceBatch, severity: float, seed: int) -> Tensor:
    """Every second face darker, the others brighter, by the same amount everywhere."""
    return batch.planes + severity * RANGE * _signs("brightness", seed, batch.rows)[:, None, None, None]


def contrast(batch: FaceBatch, severity: float, _seed: int) -> Tensor:
    """Deviations from the picture's mean, made smaller."""
    mean = batch.planes.mean(dim=(1, 2, 3), keepdim=True)
    return mean + severity * (batch.planes - mean)


def jpeg(batch: FaceBatch, severity: float, _seed: int) -> Tensor:
    """Written as JPEG and read again."""
    pictures = batch.planes.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(severity)]
    flag = cv2.IMREAD_GRAYSCALE if pictures.shape[3] == 1 else cv2.IMREAD_COLOR
    read = np.empty_like(pictures)
    for index, picture in enumerate(pictures):  # there is no batch of JPEGs
        # colours reversed: cv2 takes and gives BGR
        decoded = np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture[..., ::-1], quality)[1], flag))
        read[index] = decoded.reshape(picture.shape)[..., ::-1]
    return torch.from_numpy(read).to(batch.planes.device).permute(0, 3, 1, 2).float()


def downscaling(batch: FaceBatch, severity: float, _seed: int) -> Tensor:
    """Made smaller and enlarged again, both bilinear, smoothed first on the way down."""
    shape = batch.planes.shape[-2:]
    share = min(1.0, severity / _side(batch.planes))
    smaller = [max(2, round(share * side)) for side in shape]
    small = F.interpolate(batch.planes, size=smaller, mode="bilinear", antialias=True)
    return F.interpolate(small, size=shape, mode="bilinear")


# --- its place ----------------------------------------------------------------------------------------------


def rotation(batch: FaceBatch, severity: float, seed: int) -> Tensor:
    """Turned about the middle, every second face to the other side."""
    return _resampled(batch.planes, rotation_origin(batch.rows, _shape(batch.planes), severity, seed))


def rotation_origin(rows: Tensor, shape: tuple[int, int], severity: float, seed: int) -> Tensor:
    """Where the points of a picture turned by `severity` degrees come from, (B, 2, 3)."""
    angle = math.radians(severity) * _signs("rotation", seed, rows)
    matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    return _theta(matrix, torch.zeros(len(rows), 2, device=rows.device), shape)


def shift(batch: FaceBatch, severity: float, seed: int) -> Tensor:
    """Shifted in a direction of its own by whole pixels."""
    return _resampled(batch.planes, shift_origin(batch.rows, _shape(batch.planes), severity, seed))


def shift_origin(rows: Tensor, shape: tuple[int, int], severity: float, seed: int) -> Tensor:
    """Where the points of a picture shifted by `severity` sides come from, (B, 2, 3)."""
    angle = 2 * math.pi * uniform_draws("shift", seed, rows, 1)
    offset = (severity * max(shape) * torch.cat([angle.cos(), angle.sin()], dim=1)).round()
    return _theta(torch.eye(2, device=rows.device).expand(len(rows), 2, 2), offset, shape)


def _theta(matrix: Tensor, offset: Tensor, shape: tuple[int, int]) -> Tensor:
    """x -> matrix (x - middle) + middle - offset, in pixels, (B, 2, 2) and (B, 2), in half sides: (B, 2, 3)."""
    half = torch.tensor([shape[1] / 2, shape[0] / 2], device=matrix.device)
    linear = matrix * half / half[:, None]
    return torch.cat([linear, (-offset / half)[:, :, None]], dim=2)


def _grid(theta: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.affine_grid(theta, [len(theta), 1, *shape], align_corners=False)


def _resampled(planes: Tensor, theta: Tensor) -> Tensor:
    grid = _grid(theta, _shape(planes))
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)


# --- what covers it -----------------------------------------------------------------------------------------


def sunglasses(batch: FaceBatch, severity: float, _seed: int) -> Tensor:
    """Two dark lenses over the eyes, and the bridge between them.

    A lens is |x/a|^4 + |y/b|^4 <= 1 in the face's upright frame about the middle of the eye, b the severity and
    a = 0.16 + b / 2, in inter-ocular distances: the smallest covers the opening of the eye, the largest the
    brow as well.
    """
    eyes = torch.stack(
        [batch.landmarks[:, eye].mean(dim=1) for eye in (RIGHT_EYE, LEFT_EYE)], dim=1
    )  # (B, 2, 2)
    across = F.normalize(eyes[:, 1] - eyes[:, 0], dim=1)
    scale = _interocular(batch.landmarks)
    half_height = severity * scale
    half_width = (0.16 + severity / 2) * scale
    covered = torch.zeros_like(batch.planes[:, 0], dtype=torch.bool)
    for eye in (0, 1):
        x, y = _upright(batch.planes, eyes[:, eye], across)
        covered |= (x / _wide(half_width)) ** 4 + (y / _wide(half_height)) ** 4 <= 1
    x, y = _upright(batch.planes, eyes.mean(dim=1), across)
    apart = (eyes[:, 1] - eyes[:, 0]).norm(dim=1)
    covered |= (x.abs() <= _wide(apart / 2)) & (y.abs() <= _wide(0.03 * scale).clamp(min=0.5))
    return _painted(batch.planes, covered, LENS_BRIGHTNESS)


def mask(batch: FaceBatch, severity: float, _seed: int) -> Tensor:
    """A light mask over mouth and chin, up to some height of the nose.

    A polygon along the jaw; its upper edge runs from the jaw over the wings of the nose, moved up by the severity
    times the way from under the nose to its bridge. The higher, the further back it ends: at the jaw's fifth
    point from the ear at 0, its second at 1.
    """
    points = batch.landmarks
    jaw = points[:, JAW]
    ends = 4 - 3 * severity
    first = math.ceil(ends)
    part = first - ends
    right_end = jaw[:, first] + part * (jaw[:, first - 1] - jaw[:, first])
    left_end = jaw[:, 16 - first] + part * (jaw[:, 17 - first] - jaw[:, 16 - first])
    upwards = severity * (points[:, NOSE_BRIDGE] - points[:, SUBNASALE])
    polygon = [
        right_end,
        *jaw[:, first : 17 - first].unbind(dim=1),
        left_end,
        points[:, LEFT_NOSTRIL] + upwards,
        points[:, RIGHT_NOSTRIL] + upwards,
    ]
    covered = inside_polygon(torch.stack(polygon, dim=1), _shape(batch.planes))
    return _painted(batch.planes, covered, MASK_BRIGHTNESS)


def box(batch: FaceBatch, severity: float, seed: int) -> Tensor:
    """A grey box with the proportions of the landmarks' own box, anywhere within it."""
    low, high = batch.landmarks.amin(dim=1), batch.landmarks.amax(dim=1)
    size = math.sqrt(severity) * (high - low)
    corner = low + uniform_draws("box", seed, batch.rows, 2) * (high - low - size)
    x, y = (centres[None] for centres in _pixel_centres(batch.planes))
    covered = (
        (x >= _wide(corner[:, 0]))
        & (x < _wide(corner[:, 0] + size[:, 0]))
        & (y >= _wide(corner[:, 1]))
        & (y < _wide(corner[:, 1] + size[:, 1]))
    )
    return _painted(batch.planes, covered, BOX_BRIGHTNESS)


def inside_polygon(corners: Tensor, shape: tuple[int, int]) -> Tensor:
    """The pixels whose centres lie in polygons (B, P, 2), by the even-odd rule: bool (B, H, W)."""
    x, y = (centres[None] for centres in _pixel_centres(corners.new_empty(1, 1, *shape)))
    inside = torch.zeros(len(corners), *shape, dtype=torch.bool, device=corners.device)
    for start, end in zip(corners.unbind(dim=1), corners.roll(-1, dims=1).unbind(dim=1), strict=True):
        x0, y0, x1, y1 = (_wide(value) for value in (start[:, 0], start[:, 1], end[:, 0], end[:, 1]))
        # an edge that no row of pixels crosses is never looked at: any slope does for it
        slope = (x1 - x0) / torch.where(y1 == y0, 1.0, y1 - y0)
        inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + slope * (y - y0))
    return inside


def _interocular(landmarks: Tensor) -> Tensor:
    """Inter-ocular distances (B,); of a turned head no less than `masks.regions` lets it be."""
    apart = (landmarks[:, LEFT_EYE_OUTER_CORNER] - landmarks[:, RIGHT_EYE_OUTER_CORNER]).norm(dim=1)
    height = (landmarks[:, BROWS].mean(dim=1) - landmarks[:, CHIN]).norm(dim=1)
    return torch.maximum(apart, LEAST_IOD_OF_HEIGHT * height)


def _upright(planes: Tensor, origin: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels' coordinates (B, H, W) along `across` (B, 2) and at right angles to it, from `origin` (B, 2)."""
    x, y = (centres[None] for centres in _pixel_centres(planes))
    x, y = x - _wide(origin[:, 0]), y - _wide(origin[:, 1])
    along_x, along_y = _wide(across[:, 0]), _wide(across[:, 1])
    return x * along_x + y * along_y, y * along_x - x * along_y


def _pixel_centres(planes: Tensor) -> tuple[Tensor, Tensor]:
    height, width = planes.shape[-2:]
    y = torch.arange(height, device=planes.device) + 0.5
    x = torch.arange(width, device=planes.device) + 0.5
    return x[None, :].expand(height, width), y[:, None].expand(height, width)


def _painted(planes: Tensor, covered: Tensor, brightness_share: float) -> Tensor:
    return torch.where(covered[:, None], brightness_share * RANGE, planes)


def _wide(face_values: Tensor) -> Tensor:
    return face_values[:, None, None]


def _signs(key: str, seed: int, rows: Tensor) -> Tensor:
    return torch.where(uniform_draws(key, seed, rows, 1)[:, 0] < 0.5, -1.0, 1.0)


def _side(planes: Tensor) -> int:
    return max(planes.shape[-2:])


def _shape(planes: Tensor) -> tuple[int, int]:
    return planes.shape[-2], planes.shape[-1]


# fmt: off
CORRUPTIONS = {
    corruption.name: corruption
    for corruption in [
        Corruption("noise", "standard deviation, of the range", (0.04, 0.08, 0.12, 0.18, 0.26), noise),
        Corruption("blur", "standard deviation, of the side", (0.012, 0.018, 0.026, 0.036, 0.050), blur),
        Corruption("brightness", "added or taken away, of the range", (0.1, 0.2, 0.3, 0.4, 0.5), brightness),
        Corruption("contrast", "what is left of it", (0.6, 0.4, 0.25, 0.15, 0.08), contrast),
        Corruption("jpeg", "quality, 1 to 100", (25, 15, 10, 7, 4), jpeg),
        Corruption("rotation", "degrees", (6, 12, 18, 25, 35), rotation, origin=rotation_origin),
        Corruption("shift", "distance, of the side", (0.05, 0.1, 0.15, 0.2, 0.25), shift, origin=shift_origin),
        Corruption("downscaling", "longer side that is left, pixels", (29, 22, 17, 13, 10), downscaling),
        Corruption("sunglasses", "half height of a lens, in inter-ocular distances",
                   (0.1, 0.14, 0.18, 0.22, 0.27), sunglasses, by_landmarks=True),
        Corruption("mask", "upper edge, from under the nose (0) to between the eyes (1)",
                   (0.0, 0.2, 0.4, 0.6, 0.85), mask, by_landmarks=True),
        Corruption("box", "area, of the landmarks' box", (0.05, 0.1, 0.2, 0.3, 0.45), box, by_landmarks=True),
    ]
}
# fmt: on
