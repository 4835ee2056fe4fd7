"""The geometry of a synthetic face: a person's proportions, displaced by action units, turned by the head's pose.

Lengths are in distances between the eyes' centres, x to the right of the picture, y downwards, z towards the
viewer, with the origin midway between the eyes. 'Left' and 'right' are the picture's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fertool.masks.landmarks import BROWS, JAW, MIRRORED, NOSE
from fertool.prepare.synthetic.action_units import ACTION_UNITS, FEATURES, displaced


@dataclass(frozen=True)
class Identity:
    """A person's proportions. The defaults are the mean person; `random` draws another one."""

    face_width: float = 1.04
    face_height: float = 1.0
    jaw_squareness: float = 0.85
    chin: float = 1.62
    eye_spacing: float = 1.0
    eye_width: float = 0.235
    eye_opening: float = 0.095
    eye_tilt: float = 0.02
    iris: float = 0.098
    brow_height: float = 0.40
    brow_thickness: float = 0.075
    brow_arch: float = 0.07
    brow_tilt: float = 0.0
    nose_length: float = 0.60
    nose_width: float = 0.20
    mouth_height: float = 1.02
    mouth_width: float = 0.37
    lip_thickness: float = 0.10
    mouth_curve: float = 0.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Identity":
        """A person at random: each proportion normal about the mean person's, cut at two deviations."""
        spread = rng.normal(size=len(_DEVIATIONS)).clip(-2, 2)
        return cls(
            **{
                name: getattr(cls, name) + deviation * z
                for (name, deviation), z in zip(_DEVIATIONS.items(), spread, strict=True)
            }
        )


_DEVIATIONS = {
    "face_width": 0.06, "face_height": 0.04, "jaw_squareness": 0.08, "chin": 0.05, "eye_spacing": 0.03,
    "eye_width": 0.018, "eye_opening": 0.008, "eye_tilt": 0.015, "iris": 0.006, "brow_height": 0.025,
    "brow_thickness": 0.016, "brow_arch": 0.02, "brow_tilt": 0.015, "nose_length": 0.04, "nose_width": 0.025,
    "mouth_height": 0.025, "mouth_width": 0.025, "lip_thickness": 0.016, "mouth_curve": 0.012,
}  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """The stand of a head in the picture: angles in radians, the rest in shares of the picture's side."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 0.335
    centre_x: float = 0.5
    centre_y: float = 0.5

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Pose":
        """A pose at random, about as loosely cropped as the faces of a detector are."""
        yaw, pitch, roll, scale, x, y = rng.normal(size=6).clip(-2, 2)
        return cls(
            yaw=0.22 * yaw, pitch=0.12 * pitch, roll=0.14 * roll, scale=0.335 + 0.026 * scale,
            centre_x=0.5 + 0.045 * x, centre_y=0.5 + 0.042 * y,
        )  # fmt: skip

    def project(self, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Points (n, 2) at depths (n,) to shares of the picture's side (n, 2), under weak perspective."""
        x, y = points[:, 0], points[:, 1] - _PIVOT_Y
        x, z = (
            x * np.cos(self.yaw) + depth * np.sin(self.yaw),
            depth * np.cos(self.yaw) - x * np.sin(self.yaw),
        )
        y, z = (
            y * np.cos(self.pitch) + z * np.sin(self.pitch),
            z * np.cos(self.pitch) - y * np.sin(self.pitch),
        )
        x, y = x * np.cos(self.roll) - y * np.sin(self.roll), x * np.sin(self.roll) + y * np.cos(self.roll)
        size = self.scale * (1 + _PERSPECTIVE * z)
        return np.stack([self.centre_x + size * x, self.centre_y + size * y], axis=1)


_PIVOT_Y = 0.28  # the head turns about its middle, which stands in the picture's middle
_PERSPECTIVE = 0.06
_SKULL_DEPTH = 0.75


@dataclass(frozen=True)
class Geometry:
    """Where everything of one face lies in the picture, in shares of its side.

    `landmarks` is float64 (68, 2); `outlines` holds the other curves by name, each (n, 2); `wrinkles` holds
    the strength (0 to 1) of the skin's folds by name. `unit` is the distance between the eyes' centres and
    `iris` the radius of theirs.
    """

    landmarks: np.ndarray
    outlines: dict[str, np.ndarray]
    wrinkles: dict[str, float]
    unit: float
    iris: float


def face_geometry(identity: Identity, shown: Mapping[str, np.ndarray], pose: Pose) -> Geometry:
    """The face of a person who shows the action units `shown` (from `intensities`), in a pose."""
    neutral = neutral_landmarks(identity)
    points = np.concatenate([displaced(neutral, shown[name], where) for name, where in FEATURES.items()])
    _keep_anatomy(points, identity)
    skin = displaced(neutral, shown["face"], slice(0, 68))
    outlines = _outlines(points, skin, identity)
    strength = {
        feature: dict(zip(ACTION_UNITS, shown[feature].mean(axis=0), strict=True)) for feature in shown
    }

    flat = np.concatenate([points, *outlines.values()])
    ends = np.cumsum([len(points), *map(len, outlines.values())])
    depth = _depth(flat, identity)
    depth[NOSE] += _NOSE_PROTRUSION
    for name, start, stop in zip(outlines, ends[:-1], ends[1:], strict=True):
        if name in _BEHIND:
            depth[start:stop] = _BEHIND[name]
        elif name == "nose":
            depth[start:stop] += _NOSE_PROTRUSION[-1]
        elif name == "at_rest":
            depth[start:stop][NOSE] += _NOSE_PROTRUSION
        elif name == "stubble":
            depth[start + 1] += _NOSE_PROTRUSION[_NOSE_BASE - NOSE.start]
    landmarks, *curves = np.split(pose.project(flat, depth), ends[:-1])
    return Geometry(
        landmarks=landmarks, outlines=dict(zip(outlines, curves, strict=True)), wrinkles=_wrinkles(strength),
        unit=pose.scale * identity.eye_spacing, iris=pose.scale * identity.iris,
    )  # fmt: skip


_NOSE_BASE = 33
_JAW_ANGLES, _FOREHEAD_ANGLES = np.linspace(np.pi, 0, 17), np.linspace(0, -np.pi, 17)
_RIGHT_OF_PAIRS = np.array([*range(22, 27), *range(42, 48), *range(52, 57), 63, 64, 65])


def neutral_landmarks(identity: Identity) -> np.ndarray:
    """The 68 landmarks of a person who shows no emotion, seen from the front: float64 (68, 2)."""
    who = identity
    points = np.empty((68, 2))
    points[JAW] = _oval(who, _JAW_ANGLES, who.chin * who.face_height - _OVAL_Y)

    along = np.linspace(-1, 1, 5)  # from a brow's outer to its inner end
    points[17:22, 0] = -0.54 * who.eye_spacing + 0.31 * along
    arch = who.brow_arch * (1 - (along + 0.2) ** 2)
    points[17:22, 1] = -who.brow_height - arch - who.brow_tilt * along + 0.03

    points[27:31, 0] = 0.0
    points[27:31, 1] = np.linspace(0.0, who.nose_length - 0.12, 4)
    points[31:36, 0] = who.nose_width * np.array([-1, -0.5, 0, 0.5, 1])
    points[31:36, 1] = who.nose_length + np.array([0, 0.035, 0.055, 0.035, 0])

    eye = np.array([(-1, -0.1), (-0.38, -1), (0.38, -1), (1, 0.25), (0.38, 0.7), (-0.38, 0.7)])
    points[36:42] = eye * (who.eye_width, who.eye_opening)
    points[36:42, 1] += who.eye_tilt * eye[:, 0]
    points[36:42, 0] -= 0.5 * who.eye_spacing

    width, thick = who.mouth_width, who.lip_thickness
    points[48:52] = [(-width, 0), (-0.6 * width, -0.62 * thick), (-0.2 * width, -thick), (0, -0.82 * thick)]
    points[57:60] = [(0, 1.2 * thick), (-0.3 * width, 1.1 * thick), (-0.65 * width, 0.65 * thick)]
    points[60:63] = [(-0.88 * width, 0), (-0.33 * width, -0.01), (0, 0.0)]
    points[66:68] = [(0, 0.02), (-0.33 * width, 0.015)]
    left_of_mouth = [48, 49, 50, 51, 57, 58, 59, 60, 61, 62, 66, 67]
    points[left_of_mouth, 1] += who.mouth_height - who.mouth_curve * (points[left_of_mouth, 0] / width) ** 2

    points[_RIGHT_OF_PAIRS] = points[MIRRORED[_RIGHT_OF_PAIRS]] * (-1, 1)
    return points


def _keep_anatomy(points: np.ndarray, who: Identity) -> None:
    """Lids and lips meet and do not cross, brows stay above the eyes: corrected in place."""
    for upper, lower in (((37, 38), (41, 40)), ((43, 44), (47, 46))):
        points[lower, 1] = np.maximum(points[lower, 1], points[upper, 1] + 0.045)
    inner_upper, inner_lower = [61, 62, 63], [67, 66, 65]
    points[inner_lower, 1] = np.maximum(points[inner_lower, 1], points[inner_upper, 1] + 0.01)
    points[[50, 51, 52], 1] = np.minimum(points[[50, 51, 52], 1], points[inner_upper, 1] - 0.03)
    points[[58, 57, 56], 1] = np.maximum(points[[58, 57, 56], 1], points[inner_lower, 1] + 0.04)
    points[BROWS, 1] = np.minimum(points[BROWS, 1], -who.eye_opening - 0.11)


# --- the curves between the landmarks -----------------------------------------------------------------------

_OVAL_Y = -0.05  # the height of the face's widest line
_FOREHEAD = 1.12
_NOSE_PROTRUSION = np.array([0.05, 0.12, 0.2, 0.28, 0.1, 0.15, 0.2, 0.15, 0.1])
# Curves that do not lie on the front of the skull, and their depth.
_BEHIND = {"ear_left": -0.15, "ear_right": -0.15, "neck": -0.5, "shoulders": -0.5}


def _oval(who: Identity, angle: np.ndarray, height: float) -> np.ndarray:
    """A quarter-wise superellipse about the face's widest line; its lower half for angles 0 to pi."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x = who.face_width * np.sign(cosine) * np.abs(cosine) ** who.jaw_squareness
    y = _OVAL_Y + height * np.sign(sine) * np.abs(sine) ** who.jaw_squareness
    return np.stack([x, y], axis=1)


def _depth(points: np.ndarray, who: Identity) -> np.ndarray:
    """The skull's depth below points (n, 2): an ellipsoid a little wider than the face."""
    x, y = points[:, 0] / (1.15 * who.face_width), (points[:, 1] - _PIVOT_Y) / 1.75
    return _SKULL_DEPTH * np.sqrt(np.maximum(0.0, 1 - x**2 - y**2)) - 0.2


def _spline(points: int, steps: int = 4) -> np.ndarray:
    """The matrix that takes `points` points to a uniform Catmull-Rom spline through them."""
    matrix = np.zeros(((points - 1) * steps + 1, points))
    t = np.linspace(0, 1, steps, endpoint=False)
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    for segment in range(points - 1):
        for neighbour in range(4):
            column = min(max(segment - 1 + neighbour, 0), points - 1)
            matrix[segment * steps : (segment + 1) * steps, column] += weights[:, neighbour]
    matrix[-1, -1] = 1.0
    return matrix


_SPLINES = {points: _spline(points) for points in (3, 4, 5, 7, 9, 17)}


def smooth(points: np.ndarray) -> np.ndarray:
    """A smooth curve through 3, 4, 5, 7, 9 or 17 points."""
    return _SPLINES[len(points)] @ points


_ACROSS = np.linspace(-0.55, 0.55, 7)
_FURROW = smooth(np.stack([_ACROSS, 0.05 * np.cos(6 * _ACROSS)], axis=1))
# Half a sine over an eye's width: nothing at the corners, all in the middle.
_BULGE = np.sin(np.linspace(0, np.pi, 13))[:, None] * (0.0, 1.0)


def _outlines(points: np.ndarray, skin: np.ndarray, who: Identity) -> dict[str, np.ndarray]:
    """Every curve of the drawing, seen from the front.

    `points` are the landmarks; `skin` are the landmarks as the face's own emotion would have them, which its
    folds and stubble follow, so that a face whose features disagree does not betray one of them by its skin. Hair,
    light and what hides a face follow the landmarks `at_rest`, which no emotion moves.
    """
    forehead = _oval(who, _FOREHEAD_ANGLES, _FOREHEAD * who.face_height)
    curves = {"face": np.concatenate([smooth(points[JAW]), smooth(forehead)[1:-1]]), "forehead": forehead}
    curves["at_rest"] = neutral_landmarks(who)
    curves["face_at_rest"] = np.concatenate([smooth(curves["at_rest"][JAW]), smooth(forehead)[1:-1]])
    for side in SIDES:
        curves |= {f"{name}_{side}": curve for name, curve in _side_outlines(points, skin, who, side).items()}
    curves["furrow_high"], curves["furrow_low"] = _FURROW - (0.0, 0.86), _FURROW - (0.0, 0.72)

    lower = smooth(points[[54, 55, 56, 57, 58, 59, 48]])
    curves["lips"] = np.concatenate([smooth(points[48:55]), lower[1:-1]])
    curves["mouth_upper"], curves["mouth_lower"] = smooth(points[60:65]), smooth(points[[64, 65, 66, 67, 60]])
    curves["below_lip"] = skin[[58, 57, 56]] + (0.0, 0.09)
    curves["stubble"] = skin[[54, _NOSE_BASE, 48]]

    bridge, tip = [27, 28, 29], [32, 33, 34]
    left = np.array([(-0.08, -0.04), (-0.08, 0.0), (-0.11, 0.0)])
    wing = np.array([(-0.05, -0.14), (-0.085, -0.05), (-0.06, 0.03)])
    flip = np.array([-1.0, 1.0])
    curves["nose"] = np.concatenate(
        [
            points[bridge] + left, points[31] + wing, points[tip] + (0.0, 0.045),
            (points[35] + wing * flip)[::-1], (points[bridge] + left * flip)[::-1],
        ]
    )  # fmt: skip
    curves["neck"] = np.array([(-0.62, 0.9), (0.62, 0.9), (0.66, 2.4), (-0.66, 2.4)])
    curves["shoulders"] = np.array(
        [(-0.62, 1.75), (0.62, 1.75), (2.2, 2.3), (2.2, 4), (-2.2, 4), (-2.2, 2.3)]
    )
    return curves


SIDES = ("left", "right")


def _side_outlines(points: np.ndarray, skin: np.ndarray, who: Identity, side: str) -> dict[str, np.ndarray]:
    """The curves of which either half of the face has one."""
    left = side == "left"
    outward = np.array([1.0 if left else -1.0, 1.0])  # takes an offset on the left to this side
    eye, brow = (36, 17) if left else (42, 22)
    corner, wing, outer = (48, 31, 36) if left else (54, 35, 45)

    upper, lower = smooth(points[eye : eye + 4]), smooth(points[[eye + 3, eye + 4, eye + 5, eye]])
    # an eyebrow is thickest within and pointed at its outer end
    taper = np.array([0.25, 0.75, 1.0, 1.05, 0.85])[:: 1 if left else -1]
    half = 0.5 * who.brow_thickness * taper[:, None] * (0.0, 1.0)
    ridge = points[brow : brow + 5]
    ear = np.array([(-0.95, -0.2), (-1.08, -0.3), (-1.16, -0.1), (-1.1, 0.3), (-0.97, 0.45)])
    fold = [skin[wing] + (-0.05, -0.06) * outward, skin[corner] + (-0.12, 0.04) * outward]
    fold.insert(1, 0.5 * (skin[wing] + skin[corner]) + (-0.14, -0.03) * outward)
    return {
        "lid": upper,
        "lower_lid": lower,
        "crease": upper - 0.075 * _BULGE - (0.0, 0.015),
        "pouch": lower + 0.085 * _BULGE + (0.0, 0.015),
        "iris": np.array([(-0.5 * who.eye_spacing, 0.0)]) * outward,
        "brow": np.concatenate([smooth(ridge - half), smooth(ridge + half)[::-1]]),
        "ear": smooth(ear * (who.face_width, 1.0)) * outward,
        "nasolabial": smooth(np.stack(fold)),
        "crow": skin[outer] + np.array([(-0.20, -0.07), (-0.06, 0.0), (-0.2, 0.08)]) * outward,
        "cheek": np.array([(-0.58, 0.52)]) * outward,
        "glabella": np.array([(-0.09, -0.42), (-0.06, -0.16)]) * outward,
        "nose_wrinkle": np.array([(-0.13, 0.02), (-0.03, 0.10)]) * outward,
        "nose_wrinkle_low": np.array([(-0.15, 0.13), (-0.04, 0.20)]) * outward,
    }


def _wrinkles(strength: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """The depth of the skin's folds, 0 to 1, by their names."""
    face, nose = strength["face"], strength["nose"]
    return {
        "nasolabial": min(1.0, 0.2 + face[12] + 0.8 * face[10] + 0.3 * face[15]),
        "crow": face[6],
        "cheek": face[6],
        "glabella": face[4],
        "furrow": 0.5 * (face[1] + face[2]),
        "nose_wrinkle": nose[9],
    }
