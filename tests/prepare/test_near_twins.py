import json

import cv2
import numpy as np
import pytest

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, command, make_faces, prepare, twin_sheet
from fertool.prepare.near_twins import find_near_pairs, near_faces, same_picture
from fertool.prepare.twin_sheet import write_twin_sheet
from fertool.prepare.twins import leaks, number_groups
from fertool.runtime.files import read_csv, read_json
from fertool.workspace import SPLITS, Workspace


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Pictures of 64 pixels that have nothing in common: uint8 (12, 64, 64)."""
    rng = np.random.default_rng(5)
    rough = rng.uniform(40, 220, (12, 10, 10)).astype(np.float32)
    return np.stack([cv2.resize(each, (64, 64), interpolation=cv2.INTER_CUBIC) for each in rough]).clip(
        0, 255
    )


def cut(picture: np.ndarray, left: float = 8, top: float = 8, side: float = 48) -> np.ndarray:
    """The face that stands at a place in a picture, brought to 48 pixels."""
    scale = 48 / side
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    return cv2.warpAffine(picture, matrix, (48, 48), flags=cv2.INTER_AREA).clip(0, 255).astype(np.uint8)


def encoded(face: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def marked(face: np.ndarray) -> np.ndarray:
    copy = face.copy()
    cv2.putText(copy, "stock", (2, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 200, 1)
    return copy


COPIES = {
    "encoded again": lambda picture: encoded(cut(picture), 60),
    "shifted": lambda picture: cut(picture, 10, 6),
    "rescaled": lambda picture: cut(picture, 6.5, 6.5, 51),
    "shifted, rescaled, encoded again": lambda picture: encoded(cut(picture, 8.5, 5, 50), 75),
    "darker": lambda picture: (cut(picture) * 0.6 + 10).astype(np.uint8),
    "lit from the side": lambda picture: (cut(picture) * np.linspace(0.7, 1, 48)).astype(np.uint8),
    "with a watermark": lambda picture: marked(cut(picture)),
}


@pytest.mark.parametrize("change", COPIES)
@pytest.mark.parametrize("colour", [False, True])
def test_a_copy_is_a_near_twin_and_nothing_else_is(pictures: np.ndarray, change: str, colour: bool) -> None:
    faces = np.stack([*map(cut, pictures), COPIES[change](pictures[3])])
    faces = np.repeat(faces[..., None], 3, axis=3) if colour else faces
    assert find_near_pairs(faces).near.tolist() == [[3, 12]]


def test_faces_of_another_size_are_compared_alike(pictures: np.ndarray) -> None:
    faces = np.stack([*map(cut, pictures), cut(pictures[3], 10, 6)])
    large = np.stack([cv2.resize(face, (112, 112), interpolation=cv2.INTER_CUBIC) for face in faces])
    assert find_near_pairs(large).near.tolist() == [[3, 12]]


def test_copies_among_other_pictures_are_found_whatever_their_size_and_colour(pictures: np.ndarray) -> None:
    others = np.stack([cut(picture) for picture in pictures[:6]])
    faces = np.stack([cut(pictures[number], 9, 7) for number in (7, 2, 8, 2, 5)])
    assert near_faces(faces, others).tolist() == [False, True, False, True, True]
    large = np.stack([cv2.resize(face, (96, 96), interpolation=cv2.INTER_CUBIC) for face in faces])
    in_colour = np.repeat(large[..., None], 3, axis=3)
    assert near_faces(in_colour, others).tolist() == [False, True, False, True, True]
    assert near_faces(others, large).tolist() == [False, False, True, False, False, True]


def test_groups_join_near_and_identical_twins(pictures: np.ndarray) -> None:
    own = [cut(picture) for picture in pictures[:4]]
    # 0 is 5 with other pixels, and 5 is 6: all three are one picture
    faces = np.stack([*own, own[1], cut(pictures[0], 9, 8), cut(pictures[0], 9, 8)])
    assert number_groups(same_picture(faces, find_near_pairs(faces))).tolist() == [0, 1, -1, -1, 1, 0, 0]


def test_faces_lit_alike_are_no_twins() -> None:
    """A light from the side outweighs what the faces show: their pixels correlate, their details do not."""
    rng = np.random.default_rng(0)
    rough = rng.uniform(-18, 18, (40, 12, 12)).astype(np.float32)
    light = 120 + 90 * np.tanh(np.linspace(-2, 2, 48))
    faces = np.stack([light + cv2.resize(each, (48, 48), interpolation=cv2.INTER_CUBIC) for each in rough])
    faces = faces.clip(0, 255).astype(np.uint8)
    assert np.corrcoef(faces[0].ravel(), faces[1].ravel())[0, 1] > 0.95
    assert len(find_near_pairs(faces).near) == 0


def test_blank_pictures_are_no_twins() -> None:
    blank = np.stack([np.full((48, 48), grey, np.uint8) for grey in (0, 90, 91)])
    assert len(find_near_pairs(blank).rows) == 0


@pytest.fixture
def source(tmp_path):
    """Folders of two classes in three splits; test/happy/copy.png is train/happy/0.png, shifted by one pixel."""
    rng = np.random.default_rng(1)
    for split in SPLITS:
        for emotion in ("happy", "sad"):
            folder = tmp_path / "source" / split / emotion
            folder.mkdir(parents=True)
            for number in range(3):
                rough = rng.uniform(40, 220, (10, 10)).astype(np.float32)
                large = cv2.resize(rough, (64, 64), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(folder / f"{number}.png"), cut(large))
                if (split, emotion, number) == ("train", "happy", 0):
                    copy = cut(large, 9, 8)
    cv2.imwrite(str(tmp_path / "source" / "test" / "happy" / "copy.png"), copy)
    return tmp_path / "source"


def test_near_twins_are_counted_written_and_left_out(source, tmp_path) -> None:
    workspace = Workspace(tmp_path / "kept")
    summary = prepare(workspace, source)
    figures = {"groups": 1, "images": 2, "straddling": 1, "disagreeing": 0, "test_in_train": 1}
    assert workspace.dataset()["near_twins"] == summary.data["near_twins"] == figures
    assert workspace.dataset()["twins"] == dict.fromkeys(figures, 0)
    assert summary.tables[1].rows == [
        ["identical", "0", "0", "0", "0", "0"],
        ["near or identical", "1", "2", "1", "0", "1"],
    ]
    groups = {split: workspace.load_near_twin_groups(split) for split in SPLITS}
    rows = {row["split"]: int(row["row"]) for row in read_csv(workspace.near_twins)}
    assert {split: np.flatnonzero(numbers >= 0).tolist() for split, numbers in groups.items()} == {
        "train": [rows["train"]], "val": [], "test": [rows["test"]],
    }  # fmt: skip
    joined = np.concatenate(list(groups.values()))
    splits = np.concatenate([[split] * len(numbers) for split, numbers in groups.items()])
    assert leaks(joined, splits).sum() == 1

    clean = Workspace(tmp_path / "clean")
    prepare(clean, source, PrepareSettings(drop_leaks="near"))
    assert len(clean.load_faces("train")) == len(workspace.load_faces("train")) - 1
    assert clean.dataset()["near_twins"] == dict.fromkeys(figures, 0)
    assert clean.dataset()["leaks_dropped"] == 1
    identical = Workspace(tmp_path / "identical")
    prepare(identical, source, PrepareSettings(drop_leaks=True))
    assert identical.dataset()["leaks_dropped"] == 0


def test_faces_of_an_earlier_version_gain_their_near_twins(source, tmp_path) -> None:
    workspace = Workspace(tmp_path / "ws")
    prepare(workspace, source)
    new, table = read_json(workspace.dataset_json), workspace.near_twins.read_bytes()
    workspace.near_twins.unlink()
    products = {name: made for name, made in new["products"].items() if "near" not in name}
    old = {key: value for key, value in new.items() if key != "near_twins"} | {"products": products}
    workspace.dataset_json.write_text(json.dumps(old))
    assert workspace.load_near_twin_groups("test") is None
    summary = prepare(workspace, source)
    assert "up to date" in summary.notes[0] and summary.data["near_twins"] == new["near_twins"]
    assert workspace.near_twins.read_bytes() == table and read_json(workspace.dataset_json) == new


def test_pairs_are_known_among_chosen_pictures_in_any_order(pictures: np.ndarray) -> None:
    own = [cut(picture) for picture in pictures[:3]]
    # 0 is 3 with other pixels, and 3 is 5; 2 is 4
    faces = np.stack([*own, cut(pictures[0], 9, 8), cut(pictures[2], 9, 8), cut(pictures[0], 9, 8)])
    pairs = find_near_pairs(faces)
    assert pairs.near.tolist() == [[0, 3], [2, 4]]
    assert pairs.among(np.array([5, 4, 3, 2, 1, 0]), faces).near.tolist() == [[0, 5], [1, 3]]
    assert pairs.among(np.array([0, 1, 2, 5]), faces).near.tolist() == [[0, 3]]


@pytest.mark.parametrize("drop_leaks", [False, "near"])
def test_the_contact_sheet_is_the_same_made_with_the_faces_and_afterwards(
    source, tmp_path, monkeypatch, drop_leaks
) -> None:
    workspace, settings = Workspace(tmp_path / "ws"), PrepareSettings(drop_leaks=drop_leaks)
    searches = []
    for module in (command, make_faces, twin_sheet):
        monkeypatch.setattr(
            module, "find_near_pairs", lambda images: searches.append(len(images)) or find_near_pairs(images)
        )
    prepare(workspace, source, settings, preview_twins=tmp_path / "with.png")
    assert searches == [19]
    prepare(workspace, source, settings, preview_twins=tmp_path / "after.png")
    assert (tmp_path / "with.png").read_bytes() == (tmp_path / "after.png").read_bytes()


def test_the_contact_sheet_shows_pairs(source, tmp_path) -> None:
    workspace = Workspace(tmp_path / "ws")
    summary = prepare(workspace, source, preview_twins=tmp_path / "sheet.png")
    assert summary.notes[-1].endswith("1 pairs of near twins beyond the identical ones")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 6 * 200 and sheet.max() > 150
    with pytest.raises(UserError, match=r"--preview-twins .*: give a file that ends in .png"):
        prepare(workspace, source, preview_twins=tmp_path / "sheet.jpg")
    with pytest.raises(UserError, match=r"cannot be written"):
        write_twin_sheet(workspace, source / "train" / "happy" / "0.png" / "sheet.png")


def test_synthetic_faces_have_none(tmp_path) -> None:
    workspace = Workspace(tmp_path / "ws")
    assert prepare(workspace, "synthetic", PrepareSettings(count=140)).data["near_twins"] is None
    assert workspace.load_near_twin_groups("test") is None
    with pytest.raises(UserError, match="--drop-leaks near: each synthetic face is drawn for itself"):
        prepare(workspace, "synthetic", PrepareSettings(count=140, drop_leaks="near"))
    with pytest.raises(UserError, match="--drop-leaks far: give identical or near"):
        PrepareSettings(drop_leaks="far")
