from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain
from fertool.explain.photographs.explained import explain_faces, region_shares
from fertool.explain.photographs.faces import read_photograph, training_framing
from fertool.explain.photographs.files import find_photographs
from fertool.explain.registry import parse_request
from fertool.masks import photographs as finding
from fertool.masks.detectors.mediapipe_model import MODEL_VARIABLE
from fertool.masks.detectors.small_faces import Detection
from fertool.masks.detectors.template import mean_face
from fertool.masks.landmarks import face_boxes
from fertool.masks.photographs import Crop, PhotographDetectors, crop_face, find_faces
from fertool.masks.regions import REGIONS
from fertool.models import load_model
from fertool.runtime.hardware import choose_compute
from fertool.workspace import Workspace

FACE_OF_THE_ASTRONAUT = np.array([181, 87, 270, 177])  # x0, y0, x1, y1, from brows to chin


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A free photograph of a smiling woman, RGB (512, 512, 3)."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image, of the extra 'dev'")
    return data.astronaut()


@pytest.fixture
def mediapipe(shared: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    model = shared("models/face_landmarker.task")
    monkeypatch.setenv(MODEL_VARIABLE, str(model))
    yield model
    # MediaPipe cannot be closed once the interpreter is on its way out
    finding._mediapipe.cache_clear()


def write(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), picture[:, :, ::-1])
    return path


@pytest.fixture
def wall() -> np.ndarray:
    """A photograph of no one."""
    return np.random.default_rng(0).integers(90, 160, (300, 400, 3), dtype=np.uint8)


def test_a_photograph_is_explained_beside_its_name(
    trained: Workspace, mediapipe: Path, astronaut: np.ndarray, wall: np.ndarray, tmp_path: Path
) -> None:
    """The face that is found, what is predicted of it, and the sheet; one without a face is named."""
    photograph = write(tmp_path / "here" / "eileen.png", astronaut)
    empty = write(tmp_path / "here" / "wall.png", wall)
    summary = explain(
        trained, ExplainSettings(["gradcam", "centre"], images=[photograph, empty], device="cpu")
    )

    described, described_empty = summary.data["images"]
    (face,) = described["faces"]
    assert described["detector"] == "mediapipe"
    assert np.abs(np.array(face["box"]) - FACE_OF_THE_ASTRONAUT).max() < 10
    x0, y0, x1, y1 = face["crop"]
    cut = cv2.resize(astronaut[y0:y1, x0:x1], (48, 48), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY))[None]
    with torch.no_grad():
        expected = load_model(trained.run("cnn").best)(pixels).softmax(dim=1)[0].numpy()
    predictions = face["predictions"]["cnn"]
    classes = trained.dataset()["classes"]
    assert np.allclose([predictions["probabilities"][name] for name in classes], expected, atol=1e-5)
    assert predictions["predicted"] == classes[expected.argmax()]

    sheet = tmp_path / "here" / "eileen.cnn.gradcam.centre@of=gradcam.png"
    assert [overlay["file"] for overlay in described["overlays"]] == [str(sheet)]
    assert cv2.imread(str(sheet)).std() > 20
    assert (described_empty["faces"], described_empty["overlays"]) == ([], [])
    assert f"{empty}: no face found" in summary.notes
    assert {path.name for path in sheet.parent.iterdir()} == {"eileen.png", "wall.png", sheet.name}
    table, shares = summary.tables
    assert [row[:4] for row in table.rows] == [["eileen.png", "1", "cnn", predictions["predicted"]]]
    assert table.columns[4:] == classes
    assert [row[:6] for row in shares.rows] == [
        ["eileen.png", "1", "cnn", "gradcam", "relu3", "predicted"],
        ["eileen.png", "1", "cnn", "centre@of=gradcam", "-", "target ignored"],
    ]
    assert shares.columns[6:] == list(REGIONS)
    of_centre = face["shares"]["cnn"][1]["share"]
    assert sum(of_centre.values()) == pytest.approx(1)
    assert shares.rows[1][6:] == [f"{share:.1%}" for share in of_centre.values()]
    assert any(
        note.startswith("cnn: the newest run that gradcam, centre@of=gradcam") for note in summary.notes
    )
    again = find_photographs([sheet.parent], ["cnn"])
    assert again == [photograph, empty], "the sheet is no photograph"


def test_small_faces_of_a_large_photograph_are_found_and_read_like_text(
    mediapipe: Path, astronaut: np.ndarray
) -> None:
    """Faces of 90, 60 and 45 pixels in 1800; the smaller ones MediaPipe overlooks in the whole."""
    photograph = np.full((1000, 1800, 3), 120, np.uint8)
    places = [(1200, 40, 0.7), (100, 60, 0.5), (600, 450, 1.0)]
    for x, y, scale in places:
        side = round(512 * scale)
        photograph[y : y + side, x : x + side] = cv2.resize(
            astronaut, (side, side), interpolation=cv2.INTER_AREA
        )
    landmarks, detector = find_faces(PhotographDetectors(mediapipe, dlib=False), photograph)
    assert detector == "mediapipe"
    wanted = [FACE_OF_THE_ASTRONAUT * k + [x, y, x, y] for x, y, k in (places[1], places[0], places[2])]
    assert len(landmarks) == 3
    assert np.abs(face_boxes(landmarks) - wanted).max() < 10


def test_no_face_is_one_line_and_exit_1(
    trained: Workspace, mediapipe: Path, wall: np.ndarray, tmp_path: Path, in_process
) -> None:
    """One line in all: MediaPipe's C++ writes none to the same place."""
    photograph = write(tmp_path / "wall.png", wall)
    done = in_process("explain", "--image", photograph, "-w", trained.root)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"fertool: {photograph}: no face found")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [photograph]


def test_dlib_is_asked_only_where_mediapipe_finds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = np.zeros((400, 600, 3), np.uint8)
    face = mean_face((200, 200))
    asked = []

    def dlib(picture: np.ndarray) -> list[Detection]:
        asked.append(picture.shape)
        return [Detection(face, 1.0)]

    monkeypatch.setattr(finding, "_dlib", lambda: dlib)
    monkeypatch.setattr(finding, "_mediapipe", lambda model, confidence: lambda picture: [])
    landmarks, detector = find_faces(PhotographDetectors(Path("model"), dlib=True), photograph)
    assert (len(landmarks) > 0, detector) == (True, "dlib")
    landmarks, detector = find_faces(PhotographDetectors(Path("model"), dlib=False), photograph)
    assert (len(landmarks), detector) == (0, None)

    asked.clear()
    seen = [Detection(face + 50, float("nan"))]
    monkeypatch.setattr(finding, "_mediapipe", lambda model, confidence: lambda picture: seen)
    _, detector = find_faces(PhotographDetectors(Path("model"), dlib=True), photograph)
    assert detector == "mediapipe" and not asked


@settings(deadline=None)
@given(st.integers(20, 1280), st.floats(0, 1), st.floats(0, 1))
def test_every_face_lies_whole_in_a_window_where_it_is_large_enough(side: int, x: float, y: float) -> None:
    """MediaPipe sees faces from an eighth of the window on."""
    height, width = 1700, 2560
    left, top = x * (width - side), y * (height - side)
    windows = [(0, 0, width, height), *finding._windows(height, width)]
    assert any(
        x0 <= left and y0 <= top and left + side <= x1 and top + side <= y1
        and side >= max(x1 - x0, y1 - y0) / 8
        for x0, y0, x1, y1 in windows
    )  # fmt: skip
    assert all(min(x0, y0) >= 0 and x1 <= width and y1 <= height for x0, y0, x1, y1 in windows)


def test_faces_are_numbered_in_reading_order() -> None:
    boxes = np.array([[300, 12, 340, 60], [10, 100, 60, 150], [10, 20, 50, 70], [200, 90, 250, 130]])
    assert finding._reading_order(boxes) == [2, 0, 1, 3]


def test_a_crop_frames_the_face_as_training_faces_are(trained: Workspace, tmp_path: Path) -> None:
    """A training face, enlarged, is its own crop; likewise FER2013's mean face where there are no masks."""
    framing = training_framing(trained)
    with np.load(trained.landmarks("train")) as stored:
        landmarks = stored["landmarks"]
    photograph = np.zeros((480, 480, 3), np.uint8)
    boxes = np.array([crop_face(photograph, face * 10, framing, (48, 48)).box for face in landmarks])
    assert np.abs(np.median(boxes, axis=0) - [0, 0, 480, 480]).max() < 15

    unmasked = Workspace(tmp_path)
    (tmp_path / "dataset.json").write_text(trained.dataset_json.read_text())
    mean = mean_face((480, 480))
    crop = crop_face(photograph, mean, training_framing(unmasked), (48, 48))
    assert np.abs(np.array(crop.box) - [0, 0, 480, 480]).max() <= 2
    assert np.abs(crop.landmarks - mean / 10).max() < 0.2


def test_a_crop_keeps_colour_where_the_data_set_has_it_and_repeats_the_edge() -> None:
    photograph = np.full((100, 100, 3), (200, 40, 10), np.uint8)
    landmarks = mean_face((60, 60)) + np.array([55, 60])  # the lower right corner, half beyond it
    framing = finding.Framing(size=0.77, centre_y=0.62)
    crop = crop_face(photograph, landmarks, framing, (32, 32, 3))
    assert crop.box[2] > 100 and crop.box[3] > 100
    assert crop.face.shape == (32, 32, 3) and (crop.face == [200, 40, 10]).all()
    grey = crop_face(photograph, landmarks, framing, (32, 32)).face
    assert grey.shape == (32, 32) and np.ptp(grey) == 0 and abs(int(grey[0, 0]) - 84) <= 1


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :20] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of what is stored: turn it clockwise
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    read = read_photograph(tmp_path / "turned.jpg")
    assert read.shape == (60, 40, 3)
    assert read[5, 20, 0] > 200 and read[5, 20, 2] < 60 and read[50].max() < 60


def test_all_classes_are_columns_and_what_ignores_them_is_one(trained: Workspace) -> None:
    run, classes = trained.run("cnn"), trained.dataset()["classes"]
    faces = np.array(trained.load_faces("test")[:3])
    crops = [Crop((0, 0, 48, 48), face, mean_face((48, 48))) for face in faces]
    requests = [parse_request("gradcam"), parse_request("random")]
    explained = explain_faces(
        load_model(run.best), run, requests, crops, "all", choose_compute("cpu", "fp32")
    )
    maps = explained.maps
    assert [(each.request.key, each.target) for each in maps[:-1]] == [("gradcam", name) for name in classes]
    assert (maps[-1].request.key, maps[-1].request.looks_at_target) == ("random@of=gradcam", False)
    assert [each.layer for each in maps] == ["relu3"] * len(classes) + [""]
    assert all(each.heatmaps.shape == (3, 12, 12) and each.heatmaps.min() >= 0 for each in maps)
    assert explained.probabilities.sum(axis=1) == pytest.approx(1)
    with_heat = maps[-1]
    assert with_heat.shares.sum(axis=1) == pytest.approx(1)


def test_shares_are_those_of_heat_brought_to_the_faces_pixels() -> None:
    regions = np.zeros((1, 8, 8), np.uint8)
    regions[0, :, 4:] = REGIONS.index("mouth")
    heat = np.array([[[3.0, 1.0], [3.0, 1.0]]])
    # bilinearly, columns are 3, 3, 2.75, 2.25, 1.75, 1.25, 1, 1
    (shares,) = region_shares(heat, regions)
    assert shares[REGIONS.index("mouth")] == pytest.approx(5 / 16)
    assert shares.sum() == pytest.approx(1)
    assert np.isnan(region_shares(0 * heat, regions)).all()


def test_photographs_are_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.jfif", "a.cnn.gradcam.png", "notes.txt"):
        (tmp_path / name).touch()
    pictures = [tmp_path / name for name in ("a.png", "b.JPG", "c.jfif")]
    assert find_photographs([tmp_path], ["cnn"]) == pictures
    assert find_photographs([tmp_path / "b.JPG", tmp_path], ["cnn"]) == [
        pictures[1],
        pictures[0],
        pictures[2],
    ]
    assert find_photographs([tmp_path / "*.png"], ["cnn"]) == [pictures[0]]
    assert find_photographs([tmp_path / "notes.txt"], ["cnn"]) == [tmp_path / "notes.txt"]
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "empty", "no picture in this folder"),
        (tmp_path / "*.bmp", "no file fits"),
        (tmp_path / "absent.jpg", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            find_photographs([path], ["cnn"])


def test_what_is_no_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"notes\.jpg: no picture that OpenCV reads"):
        read_photograph(tmp_path / "notes.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UserError, match=r"empty\.jpg: no picture"):
        read_photograph(tmp_path / "empty.jpg")


def test_two_photographs_of_one_name_do_not_share_a_sheet(trained: Workspace, tmp_path: Path) -> None:
    images = [tmp_path / "a.jpg", tmp_path / "a.png"]
    for path in images:
        path.touch()
    with pytest.raises(UserError, match=r"a\.png: its overlay would overwrite that of .*a\.jpg"):
        explain(trained, ExplainSettings(images=images, device="cpu"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": ["absent.jpg"]}, r"absent\.jpg: no such file"),
        ({"images": ["a.jpg"], "target": "label"}, "a face in a photograph has no label"),
        ({"images": ["a.jpg"], "explainers": ["swapped"]}, "another face of a split, not of a photograph"),
        ({"images": ["a.jpg"], "gallery": Path("g.png")}, "draws faces of a split"),
        ({"overlay_dir": Path("there")}, "is for photographs; give --image FILE too"),
    ],
)  # fmt: skip
def test_what_a_photograph_cannot_be_asked(trained: Workspace, arguments: dict, message: str) -> None:
    images = [Path(name) for name in arguments.pop("images", [])]
    with pytest.raises(UserError, match=message):
        explain(trained, ExplainSettings(**{"device": "cpu", "images": images, **arguments}))
