import numpy as np
import pytest
from skimage.transform import PiecewiseAffineTransform

from fertool.masks.detectors.template import mean_face as template
from fertool.report.evidence import Evidence
from fertool.report.figures.mean_heat import heat_colours, mean_heat_figure
from fertool.report.mean_face import BORDER, HEAT_SIDE, MeanFace, warp
from fertool.report.mean_heat import heat_of_conditions, mean_heat
from fertool.workspace import Workspace


def faces_with(landmarks: np.ndarray) -> MeanFace:
    blank = np.zeros((len(landmarks), 48, 48), np.uint8)
    return MeanFace(blank, np.arange(len(landmarks)), landmarks)


@pytest.fixture
def jittered() -> MeanFace:
    """Faces whose landmarks lie somewhat elsewhere each."""
    jitter = np.random.default_rng(0).normal(0, 0.01, (6, 68, 2))
    return faces_with(template((1, 1)) + jitter)


def test_a_face_like_the_mean_stays_as_it_is() -> None:
    places = faces_with(np.repeat(template((1, 1))[None], 3, axis=0)).places(24)
    middles = (np.arange(24) + 0.5) / 24
    assert np.allclose(places[1, :, :, 0], middles[None, :], atol=1e-6)
    assert np.allclose(places[1, :, :, 1], middles[:, None], atol=1e-6)
    picture = np.random.default_rng(1).random((3, 24, 24)).astype(np.float32)
    assert np.allclose(warp(picture, places), picture, atol=1e-4)


def test_the_warp_is_the_piecewise_affine_one_of_scikit_image(jittered: MeanFace) -> None:
    side = 16
    middles = (np.arange(side) + 0.5) / side
    pixels = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    mean = np.concatenate([jittered.mean_landmarks, BORDER])
    for landmarks, places in zip(jittered.landmarks[:2], jittered.places(side)[:2], strict=True):
        theirs = PiecewiseAffineTransform.from_estimate(mean, np.concatenate([landmarks, BORDER]))
        assert np.allclose(places.reshape(-1, 2), theirs(pixels), atol=1e-5)


def test_a_spot_on_a_landmark_lies_on_the_mean_landmark_of_the_mean_heatmap(jittered: MeanFace) -> None:
    at = (np.arange(96) + 0.5) / 96
    for point in (30, 48, 8):  # tip of the nose, corner of the mouth, chin
        spots = np.exp(
            -(
                (at[None, None, :] - jittered.landmarks[:, point, 0, None, None]) ** 2
                + (at[None, :, None] - jittered.landmarks[:, point, 1, None, None]) ** 2
            )
            / (2 * 0.02**2)
        )
        mean = warp(spots, jittered.heat_places).mean(axis=0)
        row, column = np.unravel_index(mean.argmax(), mean.shape)
        found = (np.array([column, row]) + 0.5) / HEAT_SIDE
        assert np.abs(found - jittered.mean_landmarks[point]).max() < 1.5 / HEAT_SIDE


def test_the_mean_heat_of_an_emotion_is_the_mean_of_its_faces_maps(before: Workspace) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    view = next(view for view in evidence.views if view.target == "label" and view.grid is None)
    heat = mean_heat(evidence, condition, view)
    mean_face = evidence.mean_face
    assert mean_face is not None
    seen = set()
    for place, row in enumerate(mean_face.rows):  # one face an emotion
        if any(view.gathered.columns[run.name]["empty"][row] for run in condition.runs):
            continue
        maps = [np.load(run.heatmaps("gradcam", "label", "test"))[row].clip(min=0) for run in condition.runs]
        own = [warp((each / each.mean())[None], mean_face.heat_places[[place]])[0] for each in maps]
        found, faces = heat[evidence.classes[evidence.labels[row]]]
        assert np.allclose(found, np.mean(own, axis=0), atol=1e-4) and faces == 1
        seen.add(evidence.classes[evidence.labels[row]])
    assert seen == set(heat) and 2 < len(seen) < len(evidence.classes)  # on some faces a map is empty
    (shown,) = heat_of_conditions(evidence)
    assert {each.faces for each in shown.emotions} == {1}
    assert all(each.words.startswith("strongest on the ") for each in shown.emotions)


def test_maps_that_were_removed_and_faces_without_landmarks_have_no_mean_heatmap(
    before: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    view = evidence.main_view(condition)
    monkeypatch.setattr("fertool.workspace.Run.heatmaps", lambda self, *key: before.root / "removed.npy")
    assert mean_heat(evidence, condition, view) == {} and heat_of_conditions(evidence) == []
    monkeypatch.setattr(
        "fertool.workspace.Workspace.landmarks", lambda self, split: before.root / "removed.npz"
    )
    other = Evidence(before, "test", before.runs())
    assert other.mean_face is None and mean_heat(other, condition, view) == {}


def test_colours_are_orange_above_one_blue_below_and_clear_at_one() -> None:
    above, below, same = heat_colours(np.array([[4.0, 0.2, 1.0]]))[0]
    assert above[0] > above[2] and below[2] > below[0] and same[3] == 0 < above[3]


def test_every_emotion_has_a_panel_at_any_width() -> None:
    heat = {f"emotion {number}": np.ones((8, 8)) for number in range(7)}
    for width in (3.5, 9.0):
        figure = mean_heat_figure(np.zeros((8, 8), np.uint8), heat, width)
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == list(heat)
