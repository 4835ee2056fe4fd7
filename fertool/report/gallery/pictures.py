"""Faces, heat and outlines as they stand in the page: small PNGs in data addresses, and SVG paths."""

import base64

import cv2
import numpy as np

from fertool.explain.interpolation import interpolate
from fertool.explain.overlay import SHEER_HEAT
from fertool.masks.regions import BACKGROUND, FACE_CONTOUR, REGIONS

HEAT_PIXELS = 64  # a side of the pictures of heat
FACE_PIXELS = 96  # a side at most of the pictures of faces


def png_address(pixels: np.ndarray) -> str:
    """A picture, uint8 (H, W), RGB (H, W, 3) or RGBA (H, W, 4), as a data address."""
    order = [2, 1, 0, 3][: pixels.shape[-1]]  # cv2 has blue first
    picture = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., order])
    encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()


def face_address(face: np.ndarray) -> str:
    """A face, uint8 (H, W) or RGB (H, W, 3), no larger than FACE_PIXELS a side."""
    height, width = face.shape[:2]
    scale = FACE_PIXELS / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        face = cv2.resize(np.ascontiguousarray(face), size, interpolation=cv2.INTER_AREA)
    return png_address(np.ascontiguousarray(face))


def heat_address(heatmap: np.ndarray) -> str:
    """A rectified map (h, w) in colours from 0 to its own maximum, the more transparent the weaker it is."""
    (heat,) = interpolate(heatmap[None], (HEAT_PIXELS, HEAT_PIXELS))
    return png_address((255 * SHEER_HEAT(heat / (heat.max() or 1))).round().astype(np.uint8))


def region_paths(region_map: np.ndarray) -> dict[str, str]:
    """The outlines of a region map (H, W), by region, as SVG paths in a square of side 100.

    The background has none; that of the face contour is the whole face's.
    """
    paths = {}
    scale = 100 / np.array(region_map.shape[::-1], dtype=float)
    for code, region in enumerate(REGIONS):
        if code == BACKGROUND:
            continue
        inside = region_map != BACKGROUND if code == FACE_CONTOUR else region_map == code
        # several times finer, so that the outline runs along the pixels' edges
        fine = cv2.resize(inside.astype(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
        lines = [
            "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (contour[:, 0] + 0.5) / 4 * scale) + "Z"
            for contour in contours
            if len(contour) > 2
        ]
        if lines:
            paths[region] = "".join(lines)
    return paths
