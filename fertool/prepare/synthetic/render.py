"""The picture of a synthetic face, and its region map, from its geometry."""

from dataclasses import dataclass

import cv2
import numpy as np

from fertool.masks.regions import (
    EYEBROWS,
    EYES,
    FACE_CONTOUR,
    MOUTH,
    NOSE_REGION,
    REGIONS,
    most_covering,
)
from fertool.prepare.synthetic.geometry import SIDES, Geometry

SUPERSAMPLING = 4
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Appearance:
    """The look of a person and of the light: tones 0 to 255, the rest shares 0 to 1."""

    skin: float
    hair: float
    iris: float
    clothes: float
    lips: float  # share of the skin's tone
    hairline: float  # how far down the forehead hair grows, 0 to 1
    parting: float  # where the fringe is highest, -1 to 1
    hair_volume: float
    long_hair: bool
    stubble: float  # share by which the lower face is darker
    light: tuple[float, float]  # direction that light comes from: x, y
    light_strength: float
    occluder: str | None

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Appearance":
        """An appearance at random."""
        u = rng.random(14)
        skin = 95 + 115 * u[0]
        angle = 2 * np.pi * u[1]
        kinds = ("glasses", "box", "hand", "strand")
        return cls(
            skin=skin,
            hair=15 + 0.75 * skin * u[2] ** 2,
            iris=20 + 55 * u[3],
            clothes=15 + 220 * u[4],
            lips=0.62 + 0.2 * u[5],
            hairline=0.1 + 0.5 * u[6],
            parting=1.6 * (u[7] - 0.5),
            hair_volume=0.05 + 0.3 * u[8],
            long_hair=bool(u[9] < 0.35),
            stubble=0.22 * max(0.0, u[10] - 0.6) / 0.4,
            light=(float(np.cos(angle)), float(0.6 * np.sin(angle) - 0.4)),
            light_strength=0.1 + 0.5 * u[12],
            occluder=kinds[int(u[11] * len(kinds))] if u[13] < OCCLUDED else None,
        )


OCCLUDED = 0.13
"""The share of faces of which something hides a part."""


class _Canvas:
    """A picture at the supersampled resolution, drawn on with curves in shares of the picture's side."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def _fixed_point(self, curve: np.ndarray) -> np.ndarray:
        # a pixel's centre is its whole coordinate in OpenCV and its half one here
        scaled = (curve * self.pixels.shape[0] - 0.5) * (1 << _SUBPIXEL_BITS)
        return np.rint(scaled).astype(np.int32)

    def fill(self, curve: np.ndarray, tone: float) -> None:
        cv2.fillPoly(self.pixels, [self._fixed_point(curve)], tone, cv2.LINE_8, _SUBPIXEL_BITS)

    def line(self, curve: np.ndarray, tone: float, width: float) -> None:
        """A line of a width in shares of the side."""
        thickness = max(1, round(width * self.pixels.shape[0]))
        cv2.polylines(
            self.pixels, [self._fixed_point(curve)], False, tone, thickness, cv2.LINE_8, _SUBPIXEL_BITS
        )

    def disc(self, centre: np.ndarray, radius: float, tone: float) -> None:
        centre_x, centre_y = (int(v) for v in self._fixed_point(centre))
        radius_fixed = round(radius * self.pixels.shape[0] * (1 << _SUBPIXEL_BITS))
        cv2.circle(
            self.pixels, (centre_x, centre_y), radius_fixed, tone, cv2.FILLED, cv2.LINE_8, _SUBPIXEL_BITS
        )

    def window(self, curve: np.ndarray) -> tuple[slice, slice]:
        """The rows and columns that a curve spans."""
        side = self.pixels.shape[0]
        low = np.clip(np.floor(curve.min(axis=0) * side) - 1, 0, side - 1).astype(int)
        high = np.clip(np.ceil(curve.max(axis=0) * side) + 2, 1, side).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def paste(self, inside: "_Canvas", curve: np.ndarray) -> None:
        """Take over what another canvas shows inside a curve."""
        stencil = _Canvas(np.zeros_like(self.pixels))
        stencil.fill(curve, 255)
        window = self.window(curve)
        np.copyto(self.pixels[window], inside.pixels[window], where=stencil.pixels[window] > 0)


def draw_region_map(geometry: Geometry, size: int) -> np.ndarray:
    """The region that most of each pixel belongs to, uint8 (size, size).

    Where regions overlap the later one of this order wins: face, nose, mouth, eyebrows, eyes. The eyes reach
    from the upper lid's crease to the lower lid's fold. Where regions share a pixel
    equally, it belongs to the one with the lowest code.
    """
    canvas = _Canvas(np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING), np.uint8))
    shapes = geometry.outlines
    canvas.fill(shapes["face"], FACE_CONTOUR)
    canvas.fill(shapes["nose"], NOSE_REGION)
    canvas.fill(shapes["lips"], MOUTH)
    canvas.fill(_mouth_opening(geometry), MOUTH)
    for side in SIDES:
        canvas.fill(shapes[f"brow_{side}"], EYEBROWS)
    for side in SIDES:
        canvas.fill(np.concatenate([shapes[f"crease_{side}"], shapes[f"pouch_{side}"]]), EYES)
    return most_covering(canvas.pixels, SUPERSAMPLING, range(len(REGIONS)))


def draw_picture(geometry: Geometry, look: Appearance, rng: np.random.Generator, size: int) -> np.ndarray:
    """The grey picture, uint8 (size, size); `rng` draws background, occluder and noise."""
    side = size * SUPERSAMPLING
    canvas = _Canvas(_background(rng, side))
    _draw_head(canvas, geometry, look)
    _draw_nose(canvas, geometry, look)
    _draw_skin_folds(canvas, geometry, look)
    for half in SIDES:
        _draw_eye(canvas, geometry, look, half)
    _draw_mouth(canvas, geometry, look)
    for half in SIDES:
        canvas.fill(geometry.outlines[f"brow_{half}"], 0.75 * min(look.hair, 0.62 * look.skin))
    _draw_fringe(canvas, geometry, look)
    if look.occluder:
        _draw_occluder(canvas, geometry, look, rng)
    picture = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _photographed(picture * _shading(geometry, look, size), rng)


def _background(rng: np.random.Generator, side: int) -> np.ndarray:
    tone, roughness = rng.uniform(15, 235), rng.uniform(4, 45)
    cells = int(rng.integers(2, 8))
    patches = np.clip(tone + roughness * rng.normal(size=(cells, cells)), 0, 255)
    return cv2.resize(patches.astype(np.uint8), (side, side), interpolation=cv2.INTER_LINEAR)


def _draw_head(canvas: _Canvas, geometry: Geometry, look: Appearance) -> None:
    shapes, unit = geometry.outlines, geometry.unit
    face = shapes["face"]
    top, middle = shapes["forehead"], shapes["face_at_rest"].mean(axis=0)
    volume = 1.0 + look.hair_volume
    if look.long_hair:
        down = (shapes["neck"][2] + shapes["neck"][3]) / 2 - middle
        curtain = middle + (top - middle) * (volume + 0.05)
        hair = np.concatenate([curtain, curtain[[-1, 0]] + 0.75 * down])
        canvas.fill(hair, look.hair)
    canvas.fill(shapes["shoulders"], look.clothes)
    canvas.fill(shapes["neck"], 0.72 * look.skin)
    canvas.fill(middle + (top - middle) * volume, look.hair)
    for half in SIDES:
        canvas.fill(shapes[f"ear_{half}"], 0.85 * look.skin)
    canvas.fill(face, look.skin)
    if look.stubble:
        chin = face[: len(face) // 2 + 1]
        canvas.fill(np.concatenate([chin[20:-20], shapes["stubble"]]), look.skin * (1 - look.stubble))
    canvas.line(face, 0.8 * look.skin, 0.03 * unit)


def _draw_nose(canvas: _Canvas, geometry: Geometry, look: Appearance) -> None:
    points, unit, skin = geometry.landmarks, geometry.unit, look.skin
    shaded = 0 if look.light[0] > 0 else 1  # the side of the nose that light does not reach
    outline = geometry.outlines["nose"]
    half = outline[:7] if shaded == 0 else outline[8:]
    canvas.fill(
        np.concatenate([half, points[[30, 29, 27]] if shaded == 0 else points[[27, 29, 30]]]), 0.88 * skin
    )
    canvas.line(points[27:31], min(255.0, 1.08 * skin), 0.06 * unit)
    canvas.disc(points[30], 0.07 * unit, min(255.0, 1.1 * skin))
    canvas.line(points[31:36], 0.66 * skin, 0.04 * unit)
    for wing, nostril in ((31, 32), (35, 34)):
        canvas.line(points[[wing, nostril]], 0.4 * skin, 0.05 * unit)
    depth = geometry.wrinkles["nose_wrinkle"]
    if depth > 0.05:
        for half_name in SIDES:
            for name in ("nose_wrinkle", "nose_wrinkle_low"):
                canvas.line(geometry.outlines[f"{name}_{half_name}"], (1 - 0.5 * depth) * skin, 0.035 * unit)


def _draw_skin_folds(canvas: _Canvas, geometry: Geometry, look: Appearance) -> None:
    shapes, depths, unit, skin = geometry.outlines, geometry.wrinkles, geometry.unit, look.skin
    for half in SIDES:
        if depths["cheek"] > 0.05:
            canvas.disc(
                shapes[f"cheek_{half}"][0], 0.2 * unit, min(255.0, (1 + 0.09 * depths["cheek"]) * skin)
            )
        canvas.line(shapes[f"nasolabial_{half}"], (1 - 0.28 * depths["nasolabial"]) * skin, 0.04 * unit)
        if depths["crow"] > 0.05:
            canvas.line(shapes[f"crow_{half}"], (1 - 0.25 * depths["crow"]) * skin, 0.03 * unit)
        if depths["glabella"] > 0.05:
            canvas.line(shapes[f"glabella_{half}"], (1 - 0.35 * depths["glabella"]) * skin, 0.035 * unit)
    if depths["furrow"] > 0.05:
        for row in ("high", "low"):
            canvas.line(shapes[f"furrow_{row}"], (1 - 0.2 * depths["furrow"]) * skin, 0.03 * unit)
    canvas.line(shapes["below_lip"], 0.85 * skin, 0.05 * unit)


def _draw_eye(canvas: _Canvas, geometry: Geometry, look: Appearance, half: str) -> None:
    shapes, unit, skin = geometry.outlines, geometry.unit, look.skin
    upper, lower = shapes[f"lid_{half}"], shapes[f"lower_lid_{half}"]
    opening = np.concatenate([upper, lower[1:-1]])
    canvas.fill(np.concatenate([shapes[f"crease_{half}"], upper[::-1]]), 0.86 * skin)
    canvas.line(shapes[f"crease_{half}"], 0.68 * skin, 0.03 * unit)
    canvas.line(shapes[f"pouch_{half}"], 0.84 * skin, 0.03 * unit)
    eyeball = _Canvas(canvas.pixels.copy())
    eyeball.fill(opening, min(245.0, 100 + 0.75 * skin))
    centre = shapes[f"iris_{half}"][0]
    eyeball.disc(centre, geometry.iris, look.iris)
    eyeball.disc(centre, 0.45 * geometry.iris, 8)
    eyeball.disc(centre + 0.4 * geometry.iris * np.array([0.6, -0.8]), 0.25 * geometry.iris, 250)
    canvas.paste(eyeball, opening)
    canvas.line(lower, 0.6 * skin, 0.025 * unit)
    canvas.line(upper, 0.2 * skin, 0.05 * unit)


def _mouth_opening(geometry: Geometry) -> np.ndarray:
    return np.concatenate([geometry.outlines["mouth_upper"], geometry.outlines["mouth_lower"][1:-1]])


def _draw_mouth(canvas: _Canvas, geometry: Geometry, look: Appearance) -> None:
    shapes, unit = geometry.outlines, geometry.unit
    lips = look.lips * look.skin
    canvas.fill(shapes["lips"], lips)
    upper, lower = shapes["mouth_upper"], shapes["mouth_lower"]
    canvas.fill(np.concatenate([shapes["lips"][: len(shapes["lips"]) // 2 + 1], upper[::-1]]), 0.85 * lips)
    opening = _mouth_opening(geometry)
    inside = _Canvas(canvas.pixels.copy())
    inside.fill(opening, 28)
    # the teeth hang from the skull and show as far as the lips bare them
    teeth = np.concatenate([upper, upper[::-1] + np.array([0.0, 0.12 * unit])])
    inside.fill(teeth, min(250.0, 130 + 0.6 * look.skin))
    canvas.paste(inside, opening)
    canvas.line(upper, 0.35 * lips, 0.03 * unit)
    canvas.line(lower, 0.45 * lips, 0.02 * unit)


def _draw_fringe(canvas: _Canvas, geometry: Geometry, look: Appearance) -> None:
    """Hair over the upper forehead, highest where it is parted."""
    arc = geometry.outlines["forehead"]
    middle = geometry.landmarks[27]
    along = np.linspace(1, -1, len(arc))[2:-2]
    reach = look.hairline * np.clip(0.25 + 0.45 * np.abs(along - look.parting), 0, 0.75)[:, None]
    edge = arc[2:-2] + reach * (middle - arc[2:-2])
    canvas.fill(np.concatenate([arc[2:-2] + 0.05 * (arc[2:-2] - middle), edge[::-1]]), 0.9 * look.hair)


def _draw_occluder(canvas: _Canvas, geometry: Geometry, look: Appearance, rng: np.random.Generator) -> None:
    points, unit = geometry.outlines["at_rest"], geometry.unit
    if look.occluder == "glasses":
        rim, width = rng.uniform(10, 60), 0.045 * unit
        left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        turn = np.linspace(0, 2 * np.pi, 17)
        lens = unit * np.stack([0.36 * np.cos(turn), 0.27 * np.sin(turn)], axis=1)
        for curve in (
            left + lens,
            right + lens,
            np.stack([left + lens[0], right + lens[8]]),
            np.stack([left + lens[8], points[0]]),
            np.stack([right + lens[0], points[16]]),
        ):
            canvas.line(curve, rim, width)
    elif look.occluder == "box":
        centre = points[rng.integers(0, 68)] + 0.2 * unit * rng.normal(size=2)
        width, height = 0.5 * unit * rng.uniform(0.5, 1.0, size=2)
        corners = np.array([(-width, -height), (width, -height), (width, height), (-width, height)])
        canvas.fill(centre + corners, rng.uniform(0, 255))
    elif look.occluder == "hand":
        # a fist with its fingers up, coming from below one side of the jaw
        at = points[rng.choice([4, 5, 11, 12])]
        tone = look.skin * rng.uniform(0.85, 1.0)
        turn = np.linspace(0, 2 * np.pi, 17)
        canvas.fill(
            at + unit * np.stack([0.38 * np.cos(turn), 0.1 + 0.42 * np.sin(turn)], axis=1), 0.9 * tone
        )
        for finger in range(4):
            root = at + unit * np.array([-0.27 + 0.18 * finger, 0.1])
            tip = root - (0.0, unit * (0.5 if finger in (1, 2) else 0.42))
            canvas.line(np.stack([root, tip]), 0.6 * tone, 0.2 * unit)
            canvas.line(np.stack([root, tip]), tone, 0.15 * unit)
    else:
        # a strand of hair that falls across one side of the face
        start, end = (20, 2) if rng.random() < 0.5 else (23, 14)
        top = points[start] - (0.0, 0.7 * unit)
        middle = 0.5 * points[start] + 0.5 * points[36 if start == 20 else 45]
        canvas.line(np.stack([top, middle, points[end]]), look.hair, 0.22 * unit)


def _shading(geometry: Geometry, look: Appearance, size: int) -> np.ndarray:
    """The light on each pixel, as if the head were an ellipsoid: float32 (size, size)."""
    centre = geometry.outlines["face_at_rest"].mean(axis=0)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = (axis[None, :] - np.float32(centre[0])) / np.float32(1.25 * geometry.unit)
    y = (axis[:, None] - np.float32(centre[1])) / np.float32(1.65 * geometry.unit)
    facing = np.sqrt(np.maximum(np.float32(0.05), 1 - x**2 - y**2))
    towards_light = np.float32(look.light[0]) * x + np.float32(look.light[1]) * y
    shade = 1 + np.float32(look.light_strength) * np.clip(towards_light, -1, 1)
    return shade * (0.78 + 0.26 * facing)


def _photographed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture as a camera keeps it: gain, exposure, softness, noise; uint8."""
    contrast, brightness, blur, noise = rng.uniform((0.5, -40, 0.0, 1.0), (1.3, 40, 0.7, 8.0))
    picture = (picture - 127) * np.float32(contrast) + np.float32(127 + brightness)
    if blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture = picture + np.float32(noise) * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
