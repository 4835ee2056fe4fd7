"""Synthetic faces: by seed, with a truth that holds, and hard enough to be a task."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fertool.masks.emfacs import EMFACS
from fertool.masks.landmarks import MIRRORED
from fertool.masks.regions import REGIONS
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.synthetic.action_units import ACTION_UNITS, FEATURES, intensities
from fertool.prepare.synthetic.faces import draw_faces
from fertool.prepare.synthetic.geometry import Identity, Pose, face_geometry, neutral_landmarks
from fertool.prepare.synthetic.render import Appearance, draw_picture, draw_region_map

BACKGROUND, FACE, EYES, EYEBROWS, NOSE, MOUTH = range(6)


@pytest.fixture(scope="module")
def faces():
    return draw_faces(700, seed=5)


def region_at(region_map, point):
    x, y = np.floor(point).astype(int)
    return region_map[y, x]


def frontal(emotion, seed=0):
    """The landmarks of the mean person showing an emotion, seen from the front."""
    shown = intensities(dict.fromkeys(FEATURES, EMOTIONS.index(emotion)), np.random.default_rng(seed))
    return face_geometry(Identity(), shown, Pose()).landmarks


def eye_opening(landmarks):
    return (landmarks[..., [40, 41, 46, 47], 1] - landmarks[..., [38, 37, 44, 43], 1]).mean(axis=-1)


def mouth_opening(landmarks):
    return landmarks[..., 66, 1] - landmarks[..., 62, 1]


def corner_height(landmarks):
    """The height of the mouth's corners above its middle."""
    return landmarks[..., [51, 57], 1].mean(axis=-1) - landmarks[..., [48, 54], 1].mean(axis=-1)


def brow_slope(landmarks):
    """The height of the brows' inner ends above their outer ends."""
    return landmarks[..., [17, 26], 1].mean(axis=-1) - landmarks[..., [21, 22], 1].mean(axis=-1)


def test_the_shapes_and_types_are_as_promised():
    faces = draw_faces(9, seed=1, size=64)
    assert (faces.images.shape, faces.images.dtype) == ((9, 64, 64), np.uint8)
    assert (faces.labels.shape, faces.labels.dtype) == ((9,), np.int64)
    assert (faces.landmarks.shape, faces.landmarks.dtype) == ((9, 68, 2), np.float32)
    assert (faces.region_maps.shape, faces.region_maps.dtype) == ((9, 64, 64), np.uint8)
    assert len(draw_faces(0, seed=1).labels) == 0


def test_fewer_faces_are_the_first_of_more():
    few, more = draw_faces(10, seed=3), draw_faces(17, seed=3)
    for name in ("images", "labels", "landmarks", "region_maps"):
        assert np.array_equal(getattr(few, name), getattr(more, name)[:10]), name


def test_another_seed_draws_other_faces():
    one, other = draw_faces(14, seed=3), draw_faces(14, seed=4)
    assert not (one.images == other.images).all(axis=(1, 2)).any()
    assert not np.array_equal(one.labels, other.labels)


def test_a_larger_picture_shows_the_same_face():
    small, large = draw_faces(7, seed=2), draw_faces(7, seed=2, size=96)
    assert np.allclose(large.landmarks, 2 * small.landmarks, atol=1e-3)
    assert (large.region_maps[:, ::2, ::2] == small.region_maps).mean() > 0.93


def test_classes_are_equally_many_in_an_order_that_does_not_repeat(faces):
    assert (np.bincount(faces.labels) == 100).all()
    blocks = faces.labels.reshape(-1, 7)
    assert len(np.unique(blocks, axis=0)) > 90
    counts = np.bincount(draw_faces(10, seed=8).labels, minlength=7)
    assert counts.max() - counts.min() <= 1


def test_unknown_evidence_is_refused():
    with pytest.raises(ValueError, match="chin"):
        draw_faces(1, seed=0, evidence="chin")


def test_every_face_has_every_region_at_its_usual_size(faces):
    area = np.stack([(faces.region_maps == code).mean(axis=(1, 2)) for code in range(6)], axis=1)
    assert np.allclose(area.sum(axis=1), 1)
    assert (area > 0).all()
    low = [0.15, 0.25, 0.02, 0.008, 0.015, 0.01]
    high = [0.6, 0.65, 0.09, 0.05, 0.08, 0.09]
    assert (area.mean(axis=0) > low).all() and (area.mean(axis=0) < high).all(), area.mean(axis=0)


def test_landmarks_lie_in_their_regions(faces):
    parts = {
        EYES: [slice(36, 42), slice(42, 48)], EYEBROWS: [[19], [24]],
        NOSE: [[29], [30]], MOUTH: [slice(48, 60)],
    }  # fmt: skip
    for code, groups in parts.items():
        for group in groups:
            centres = faces.landmarks[:, group].mean(axis=1)
            inside = [region_at(*pair) == code for pair in zip(faces.region_maps, centres, strict=True)]
            assert np.mean(inside) > 0.97, (code, group)


def test_regions_centre_on_their_landmarks(faces):
    """To half a pixel, which a swap of x and y or a shift of the pixel grid would break."""
    pixel_y, pixel_x = np.mgrid[:48, :48] + 0.5
    offsets = []
    for landmarks, region_map in zip(faces.landmarks, faces.region_maps, strict=True):
        for eye in (landmarks[36:42], landmarks[42:48]):
            near = (region_map == EYES) & (
                np.hypot(pixel_x - eye[:, 0].mean(), pixel_y - eye[:, 1].mean()) < 6.5
            )
            offsets.append([pixel_x[near].mean() - eye[:, 0].mean(), pixel_y[near].mean() - eye[:, 1].mean()])
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.5
    assert np.abs(np.mean(offsets, axis=0)[0]) < 0.1


def test_the_face_region_is_bounded_by_the_jaw(faces):
    for landmarks, region_map in zip(faces.landmarks[:100], faces.region_maps[:100], strict=True):
        middle = landmarks[30]
        for jaw in landmarks[[2, 4, 6, 8, 10, 12, 14]]:
            inward, outward = jaw + 0.08 * (middle - jaw), jaw - 0.08 * (middle - jaw)
            if (inward < 48).all() and (inward > 0).all():
                assert region_at(region_map, inward) != BACKGROUND
            # turned away, the far jaw lies before the face's own edge
            if (
                (outward < 48).all()
                and (outward > 0).all()
                and abs(middle[0] - landmarks[[0, 16], 0].mean()) < 2
            ):
                assert region_at(region_map, outward) == BACKGROUND


def test_features_stand_in_their_order_from_above(faces):
    heights = [faces.landmarks[:, part, 1].mean(axis=1) for part in FEATURES.values()]
    height = dict(zip(FEATURES, heights, strict=True))
    assert (height["eyebrows"] < height["eyes"]).all()
    assert (height["eyes"] < height["nose"]).all()
    assert (height["nose"] < height["mouth"]).all()


def test_the_regions_look_unlike_the_skin_around_them(faces):
    """The truth is that of the picture: brows and eyes are darker than the skin about them."""
    contrast = [
        image[region_map == FACE].mean() - image[region_map == EYEBROWS].mean()
        for image, region_map in zip(faces.images.astype(float), faces.region_maps, strict=True)
    ]
    assert np.mean(np.array(contrast) > 0) > 0.95


def test_every_emotion_of_the_table_is_drawable():
    assert tuple(EMFACS) == EMOTIONS
    for units in EMFACS.values():
        assert set(units) <= set(ACTION_UNITS)
        assert all(0 <= low <= high <= 1 for low, high in units.values())


def test_a_neutral_face_is_symmetric_and_undisplaced():
    points = neutral_landmarks(Identity())
    assert np.allclose(points, points[MIRRORED] * (-1, 1))
    shown = intensities(dict.fromkeys(FEATURES, EMOTIONS.index("neutral")), np.random.default_rng(0))
    assert all((strength == 0).all() for strength in shown.values())


@pytest.mark.parametrize(
    ("measure", "more", "less"),
    [
        (corner_height, "happy", "neutral"),
        (corner_height, "neutral", "sad"),
        (eye_opening, "surprise", "neutral"),
        (eye_opening, "fear", "neutral"),
        (eye_opening, "neutral", "happy"),
        (mouth_opening, "surprise", "fear"),
        (mouth_opening, "fear", "neutral"),
        (brow_slope, "sad", "neutral"),
        (brow_slope, "neutral", "angry"),
    ],
)
def test_emotions_show_their_action_units(faces, measure, more, less):
    assert measure(frontal(more)) > measure(frontal(less))
    values = measure(faces.landmarks)
    ahead = values[faces.labels == EMOTIONS.index(more)]
    behind = values[faces.labels == EMOTIONS.index(less)]
    assert ahead.mean() - behind.mean() > 0.5 * max(ahead.std(), behind.std())


def test_only_the_evidence_tells_the_class():
    faces = draw_faces(350, seed=6, evidence="mouth")
    happy, sad = (faces.labels == EMOTIONS.index(name) for name in ("happy", "sad"))
    heights, slopes = corner_height(faces.landmarks), brow_slope(faces.landmarks)
    assert heights[happy].mean() - heights[sad].mean() > heights[happy].std()
    assert abs(slopes[happy].mean() - slopes[sad].mean()) < 0.35 * slopes.std()


@pytest.mark.parametrize("feature", ["face", "eyes", "eyebrows", "nose", "mouth"])
@pytest.mark.parametrize("occluder", [None, "glasses", "box", "hand", "strand"])
def test_no_pixel_beside_a_feature_tells_its_emotion(feature, occluder):
    """However skin, stubble, hair and light are drawn, and what hides a face."""
    code = REGIONS.index("face contour" if feature == "face" else feature)
    beside = 0
    for number in range(8 if occluder is None else 3):
        pictures, regions = [], []
        for emotion in range(len(EMOTIONS)):
            rng = np.random.default_rng(number)
            identity, pose, look = Identity.random(rng), Pose.random(rng), Appearance.random(rng)
            look = replace(look, stubble=0.2, occluder=occluder)
            others = dict(zip(FEATURES, rng.integers(0, len(EMOTIONS), size=len(FEATURES)), strict=True))
            geometry = face_geometry(identity, intensities({**others, feature: emotion}, rng), pose)
            pictures.append(draw_picture(geometry, look, rng, 48).astype(int))
            regions.append(draw_region_map(geometry, 48) == code)
        near = binary_dilation(np.any(regions, axis=0), iterations=3)
        beside += (np.ptp(pictures, axis=0)[~near] > 8).sum()
        assert occluder or np.ptp(pictures, axis=0)[near].max() > 8
    assert beside == 0


def test_pictures_vary_in_light_contrast_and_pose(faces):
    pixels = faces.images.reshape(len(faces.images), -1).astype(float)
    assert pixels.mean(axis=1).std() > 20
    assert pixels.std(axis=1).std() > 8
    assert (pixels.std(axis=1) > 8).all(), "a picture in which there is nothing to see"
    eyes = faces.landmarks[:, 42:48].mean(axis=1) - faces.landmarks[:, 36:42].mean(axis=1)
    assert np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0])).std() > 3
    assert np.hypot(*eyes.T).std() > 0.5
    assert faces.landmarks[:, 30, 0].std() > 1


def test_a_linear_model_does_not_solve_it(faces):
    pixels = faces.images.reshape(700, -1).astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, tol=1e-2))
    model.fit(pixels[:500], faces.labels[:500])
    accuracy = model.score(pixels[500:], faces.labels[500:])
    assert 1 / 7 < accuracy < 0.6
