"""--crop-faces: the face in each picture is found and cut out; pictures without one are left out and counted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fertool.errors import UserError
from fertool.masks import photographs
from fertool.masks.detectors.mediapipe_model import MODEL_VARIABLE
from fertool.masks.detectors.template import mean_face
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.sources import crop_faces
from fertool.runtime.files import read_csv
from fertool.workspace import SPLITS, Workspace


class InProcess:
    """The pool of workers, in this process."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def in_order(self, function: Callable, batches: Iterator) -> Iterator:
        yield from map(function, batches)


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(crop_faces, "WorkerPool", InProcess)


@pytest.fixture
def white_faces(monkeypatch, in_process):
    """A detector of white squares in black pictures: the mean face's landmarks in each, the largest first."""

    def find(_detectors: object, picture: np.ndarray) -> np.ndarray:
        _, _, boxes, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 128).astype(np.uint8))
        faces = [
            mean_face((side, side)) + np.array([left, top])
            for left, top, side, _, _ in sorted(boxes[1:].tolist(), key=lambda box: -box[2])
        ]
        return np.stack(faces) if faces else np.zeros((0, 68, 2), np.float32)

    monkeypatch.setattr(crop_faces, "find_near_faces", find)
    monkeypatch.setattr(crop_faces, "available_detectors", lambda: None)


def scene(*squares):
    """A picture in colour with white squares: (left, top, side) each."""
    picture = np.zeros((120, 200, 3), np.uint8)
    picture[..., 2] = 40
    for left, top, side in squares:
        picture[top : top + side, left : left + side] = 255
    return picture


def folders(forms, pictures):
    return forms.tree({
        f"{split}/{name}/{number}.png": forms.picture(picture)
        for split in SPLITS for name in ("happy", "sad") for number, picture in enumerate(pictures)
    })  # fmt: skip


def test_the_largest_face_is_cut_out_and_the_others_counted(forms, tmp_path, white_faces):
    workspace = Workspace(tmp_path / "data")
    pictures = [scene((20, 30, 60)), scene((20, 30, 30), (100, 30, 60)), scene()]
    summary = prepare(workspace, folders(forms, pictures), PrepareSettings(crop_faces=True))
    note = next(note for note in summary.notes if "faces were looked for" in note)
    assert "18 pictures: 6 show none and are left out; 6 show several" in note
    assert [each["count"] for each in summary.data["splits"].values()] == [4, 4, 4]
    for split in SPLITS:
        assert [row["faces_found"] for row in read_csv(workspace.faces_csv(split))] == ["1", "2", "1", "2"]
        assert (workspace.load_faces(split)[:, 2:-2, 2:-2] == 255).all()


def test_a_margin_shows_what_is_around_the_face(forms, tmp_path, white_faces):
    workspace = Workspace(tmp_path / "data")
    settings = PrepareSettings(crop_faces=True, margin=0.25, size=60)
    prepare(workspace, folders(forms, [scene((60, 40, 40))]), settings)
    face = workspace.load_faces("train")[0, ..., 1]
    assert (face[12:48, 12:48] == 255).all() and (face[:8] == 0).all() and (face[:, -8:] == 0).all()


@pytest.mark.parametrize("bits", [12, 16])
def test_pictures_of_more_than_eight_bits_give_the_same_faces(forms, tmp_path, white_faces, bits):
    """Twelve bits in sixteen are nearly black to who takes the upper eight."""
    pictures = [scene((20, 30, 60)), scene((30, 20, 50))]
    eight, deep = Workspace(tmp_path / "eight"), Workspace(tmp_path / "deep")
    settings = PrepareSettings(crop_faces=True, margin=0.2)
    prepare(eight, folders(forms, pictures), settings)
    stored = [picture.astype(np.uint16) * 2 ** (bits - 8) for picture in pictures]
    summary = prepare(deep, folders(forms, stored), settings)
    assert all(np.array_equal(deep.load_faces(split), eight.load_faces(split)) for split in SPLITS)
    scaled = "12 pictures of 16 bits a value use 12 of them: scaled by these"
    assert (scaled in summary.notes) == (bits == 12)


def test_no_face_anywhere_is_an_error(forms, tmp_path, white_faces):
    with pytest.raises(UserError, match="no picture shows a face"):
        prepare(Workspace(tmp_path / "data"), folders(forms, [scene()]), PrepareSettings(crop_faces=True))
    assert not (tmp_path / "data").exists()


def test_the_detectors_find_a_face(
    forms, tmp_path, in_process, shared: Callable[[str], Path], monkeypatch
) -> None:
    """A photograph of a woman whose face is at a known place; what is cut out is her face in FER2013's framing."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image, of the extra 'dev'")
    monkeypatch.setenv(MODEL_VARIABLE, str(shared("models/face_landmarker.task")))
    workspace = Workspace(tmp_path / "data")
    try:
        prepare(workspace, folders(forms, [data.astronaut()]), PrepareSettings(crop_faces=True, size=90))
    finally:
        photographs._mediapipe.cache_clear()  # MediaPipe cannot be closed once the interpreter is on its way out
    face = workspace.load_faces("train")[0]
    # brows to chin are 181 to 270, 87 to 177 in the photograph
    wanted = cv2.resize(data.astronaut()[60:177, 167:284], (90, 90), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(face.ravel(), wanted.ravel())[0, 1] > 0.9
