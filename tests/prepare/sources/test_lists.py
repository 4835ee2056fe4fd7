"""Lists of pictures, labels by an expression, boxes, columns: the general form, and what is wrong with one."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv
from fertool.workspace import SPLITS, Workspace
from tests.prepare.refusals import assert_refused

NAMES = ("angry", "happy", "sad")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


@pytest.fixture
def pictures(forms):
    """A folder with 36 different pictures, `pics/00.png` and so on."""
    faces = forms.faces(36)
    return forms.tree({f"pics/{number:02d}.png": forms.picture(face) for number, face in enumerate(faces)})


def listed(forms, lines, name="list.csv"):
    path = forms.folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(workspace):
    """The table of all splits, each row with its split."""
    return [{**row, "split": split} for split in SPLITS for row in read_csv(workspace.faces_csv(split))]


def by_split(number):
    return SPLITS[min(number // 12, 2)]


def notes(summary):
    return "\n".join(summary.notes)


@pytest.mark.parametrize(
    ("mark", "paths"),
    [(",", "pics/{}.png"), ("\t", "{}.png"), (";", "./pics/{}.png"), (" ", "pics\\{}.png")],
)
def test_a_list_in_every_spelling(forms, workspace, pictures, mark, paths):
    header = mark.join(["File_Name", "Emotion", "Usage"])
    lines = [
        mark.join([paths.format(f"{number:02d}"), NAMES[number % 3], by_split(number).upper()])
        for number in range(36)
    ]
    listing = listed(forms, [header, *lines], "list.txt")
    summary = prepare(workspace, pictures, PrepareSettings(list_file=listing))
    assert "a list, list.txt" in notes(summary) and "splits: the source" in notes(summary)
    for row in rows(workspace):
        number = int(Path(row["source"]).stem)
        assert (row["label"], row["split"]) == (str(number % 3), by_split(number))


@pytest.mark.parametrize("start", ["{source}/pics", "set/pics"])
def test_paths_that_hold_the_source_itself(forms, workspace, pictures, start):
    """Whole paths, and paths that start from the folder beside the source, which is called set."""
    folder = start.format(source=pictures)
    lines = ["path,label", *(f"{folder}/{number:02d}.png,{NAMES[number % 3]}" for number in range(36))]
    prepare(workspace, pictures, PrepareSettings(list_file=listed(forms, lines)))
    assert {row["source"] for row in rows(workspace)} == {f"pics/{number:02d}.png" for number in range(36)}


def test_a_list_within_the_source_without_header(forms, workspace):
    files = {f"all/{number}.png": forms.picture(face) for number, face in enumerate(forms.faces(30))}
    lines = [f"1 {number}.png {5 + number % 2}.0" for number in range(30)]
    source = forms.zip({**files, "labels.lst": "\n".join(lines).encode()})
    settings = PrepareSettings(
        list_file=Path("labels.lst"), columns="path=1,label=2", label_map="5=sadness, 6=Surprised"
    )
    summary = prepare(workspace, source, settings)
    assert summary.data["classes"] == ["sad", "surprise"]
    assert all(int(row["source"][4:-4]) % 2 == int(row["label"]) for row in rows(workspace))


def test_persons_share_a_split_and_columns_are_kept(forms, workspace, pictures):
    lines = ["image,expression,subject,Age,hand,note"]
    lines += [
        f"pics/{number:02d}.png,{NAMES[number % 3]},s{number // 3},{20 + number},{number % 2},x"
        for number in range(36)
    ]
    settings = PrepareSettings(list_file=listed(forms, lines), keep=("hand",))
    summary = prepare(workspace, pictures, settings)
    assert "persons kept together" in notes(summary) and "person (12 values), hand (2 values)" in notes(
        summary
    )
    table = rows(workspace)
    assert all(
        len({row["split"] for row in table if row["person"] == f"s{person}"}) == 1 for person in range(12)
    )
    for row in table:
        number = int(Path(row["source"]).stem)
        assert (row["age"], row["hand"], row["person"]) == (
            str(20 + number),
            str(number % 2),
            f"s{number // 3}",
        )
        assert "note" not in row


def test_folds_by_person_cover_every_face_once(forms, workspace, pictures):
    lines = ["image,label,person"]
    lines += [f"{number:02d}.png,{NAMES[number % 3]},s{number // 3}" for number in range(36)]
    listing = listed(forms, lines)
    tested = Counter()
    for fold in range(4):
        prepare(workspace, pictures, PrepareSettings(list_file=listing, folds=4, fold=fold))
        table = rows(workspace)
        assert {row["fold"] for row in table if row["split"] == "test"} == {str(fold)}
        assert {row["fold"] for row in table if row["split"] == "val"} == {str((fold + 1) % 4)}
        tested.update(row["source"] for row in table if row["split"] == "test")
    assert len(tested) == 36 and set(tested.values()) == {1}


def test_label_from_finds_label_person_split_and_columns(forms, workspace):
    faces = iter(forms.faces(36))
    source = forms.tree({
        f"{split}/s{split}{person}_{name}_{age}.png": forms.picture(next(faces))
        for split in SPLITS for person in range(3) for name in ("AN", "HA") for age in (20, 40)
    })  # fmt: skip
    expression = r"(?P<split>\w+)/(?P<person>s\w+?)_(?P<label>[A-Z]+)_(?P<age>\d+)"
    summary = prepare(workspace, source, PrepareSettings(label_from=expression))
    assert "--label-from" in notes(summary)
    for row in rows(workspace):
        person, name, age = Path(row["source"]).stem.split("_")
        assert (row["person"], row["age"], row["label"]) == (person, age, str(("AN", "HA").index(name)))
        assert row["source"].startswith(row["split"])


def test_label_map_names_folders(forms, workspace):
    source = forms.tree(forms.emotion_folders(10, ["1", "2", "9"]))
    with pytest.raises(UserError, match=r"is a number.*--label-map"):
        prepare(workspace, source)
    summary = prepare(workspace, source, PrepareSettings(label_map="1=surprise,2=fear,9=none"))
    assert summary.data["classes"] == ["fear", "surprise"] and summary.data["left_out"] == {"none": 10}
    assert all((row["label"] == "0") == row["source"].startswith("2/") for row in rows(workspace))


# --- boxes ------------------------------------------------------------------------------------------------


def scene(left, top, side, shape=(120, 160)):
    """A grey picture with a white square in black: the square is what a box cuts out."""
    picture = np.zeros(shape, np.uint8)
    picture[top : top + side, left : left + side] = 255
    return picture


def boxed(forms, box, header="x1,y1,x2,y2", data=None):
    """Twelve rows of each class, all with this box; the pictures are `data`, or a scene with a square at its box."""
    files = {f"{number}.png": data for number in range(12)}
    lines = [f"path,label,split,{header}"]
    lines += [f"{number}.png,{NAMES[number % 2]},{SPLITS[number % 3]},{box}" for number in range(12)]
    return forms.tree(files), listed(forms, lines)


@pytest.mark.parametrize(
    ("header", "box"),
    [
        ("x1,y1,x2,y2", "50,30,90,70"),
        ("face_x,face_y,face_width,face_height", "50,30,40,40"),
        ("face_box_top,face_box_left,face_box_right,face_box_bottom", "30,50,90,70"),
        ("left,top,w,h", "50.0,30.0,40.0,40.0"),
    ],
)
def test_a_box_is_cut_out(forms, workspace, header, box):
    source, listing = boxed(forms, box, header, forms.picture(scene(50, 30, 40)))
    prepare(workspace, source, PrepareSettings(list_file=listing))
    assert (workspace.load_faces("train") == 255).all()


def test_a_margin_grows_the_box_on_all_sides(forms, workspace):
    source, listing = boxed(forms, "50,30,90,70", data=forms.picture(scene(50, 30, 40)))
    prepare(workspace, source, PrepareSettings(list_file=listing, margin=0.5, size=80))
    face = workspace.load_faces("train")[0]
    assert (face[20:60, 20:60] == 255).all() and face.astype(int).sum() == 40 * 40 * 255


def test_a_box_over_the_edge_repeats_the_edge(forms, workspace):
    source, listing = boxed(forms, "-10,-10,30,30", data=forms.picture(scene(0, 0, 30)))
    prepare(workspace, source, PrepareSettings(list_file=listing))
    assert (workspace.load_faces("train") == 255).all()


def test_a_box_is_in_the_picture_as_it_is_shown(forms, workspace):
    """EXIF says that it lies on its side; the box is in the upright picture."""
    upright = scene(50, 30, 40)
    tag = Image.Exif()
    tag[0x112] = 6
    path = forms.folder / "lying.jpg"
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(path, exif=tag, quality=100)
    assert np.abs(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(int) - upright).max() < 10
    source, listing = boxed(forms, "52,32,88,68", data=path.read_bytes())
    prepare(workspace, source, PrepareSettings(list_file=listing))
    assert (workspace.load_faces("train") > 245).all()


def test_several_faces_of_one_picture(forms, workspace):
    lines = ["path,label,split,x1,y1,x2,y2"]
    for split in SPLITS:
        lines += [f"{split}.png,happy,{split},0,0,40,40", f"{split}.png,sad,{split},50,30,90,70"]
    source = forms.tree({f"{split}.png": forms.picture(scene(50, 30, 40)) for split in SPLITS})
    prepare(workspace, source, PrepareSettings(list_file=listed(forms, lines)))
    assert [face.mean() for face in workspace.load_faces("val")] == [0, 255]
    assert [row["id"] for row in rows(workspace)][:2] == ["train.png", "train.png#2"]


# --- what is wrong with a list ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pics/99.png,sad,train,s9", ["row 7 (line 8)", "pics/99.png", "not in"]),
        ("pics/07.png,,train,s9", ["row 7 (line 8)", "no label"]),
        ("pics/07.png,sad", ["row 7 (line 8)", "2 columns where 4"]),
        ("pics/07.png,sad,holdout,s9", ["row 7 (line 8)", "split 'holdout'"]),
        ("pics/07.png,sad,val,s0", ["row 7 (line 8)", "person 's0'", "train", "row 1 (line 2)"]),
        ("pics/07.png,3,train,s9", ["row 7 (line 8)", "'3' is a number", "--label-map"]),
    ],
)
def test_a_bad_row_is_named(forms, workspace, pictures, line, words):
    lines = [
        f"pics/{number:02d}.png,{NAMES[number % 3]},{by_split(number)},s{number}" for number in range(36)
    ]
    lines[6] = line
    listing = listed(forms, ["path,label,split,person", *lines])
    assert_refused(workspace, pictures, "list.csv", *words, list_file=listing)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("200,30,240,70", ["row 1 (line 2)", "outside the picture of 160 x 120"]),
        ("150,110,190,150", ["row 1 (line 2)", "outside"]),
        ("90,30,50,70", ["row 1 (line 2)", "no area"]),
        ("a,30,50,70", ["row 1 (line 2)", "not four numbers"]),
        ("nan,30,50,70", ["row 1 (line 2)", "no area"]),
    ],
)
def test_a_bad_box_is_named(forms, workspace, box, words):
    source, listing = boxed(forms, box, data=forms.picture(scene(50, 30, 40)))
    assert_refused(workspace, source, *words, list_file=listing)


def test_columns_that_are_not_there_or_could_be_two(forms, workspace, pictures):
    line = "pics/00.png,happy,1"
    both = listed(forms, ["path,label,emotion", line], "both.csv")
    assert_refused(workspace, pictures, "'label' and 'emotion'", "--columns label=NAME", list_file=both)
    bare = listed(forms, [line], "bare.csv")
    assert_refused(workspace, pictures, "names no columns", "--columns path=0,label=1", list_file=bare)
    none = listed(forms, ["path,colour,x", line], "none.csv")
    assert_refused(workspace, pictures, "no column for the label", list_file=none)
    box = listed(forms, ["path,label,bbox", line], "box.csv")
    assert_refused(workspace, pictures, "'bbox'", "several orders", list_file=box)
    assert_refused(
        workspace, pictures, "--keep age", "no such column", list_file=none, keep=("age",), columns="label=2"
    )
    assert_refused(workspace, pictures, "no column '7'", list_file=bare, columns="path=7,label=1")
    assert_refused(workspace, pictures, "role=column", list_file=bare, columns="face=0")
    assert_refused(workspace, pictures, "no such file", list_file=forms.folder / "absent.csv")


@pytest.mark.parametrize("name", ["id", "label", "twin_group", "votes_sad"])
def test_a_column_of_a_name_that_is_taken_is_refused(forms, workspace, pictures, name):
    lines = [
        f"path,emotion,{name}",
        *(f"pics/{number:02d}.png,{NAMES[number % 3]},x" for number in range(36)),
    ]
    settings = {"list_file": listed(forms, lines), "columns": "label=emotion", "keep": (name,)}
    assert_refused(workspace, pictures, f"column '{name}' cannot be kept", **settings)


def test_codes_that_fit_several_sets_are_asked_for(forms, workspace, pictures):
    lines = ["path,label", *(f"pics/{number:02d}.png,{1 + number % 6}" for number in range(36))]
    listing = listed(forms, lines)
    assert_refused(workspace, pictures, "or raf-db or", "--label-map", list_file=listing)
    prepare(workspace, pictures, PrepareSettings(list_file=listing, label_map="raf-db"))
    assert workspace.dataset()["classes"] == ["angry", "disgust", "fear", "happy", "sad", "surprise"]


def test_a_label_that_the_map_does_not_know(forms, workspace, pictures):
    lines = ["path,label", *(f"pics/{number:02d}.png,{number % 3}" for number in range(36))]
    settings = {"list_file": listed(forms, lines), "label_map": "0=happy,1=sad"}
    assert_refused(workspace, pictures, "row 3 (line 4)", "label '2'", "0 happy, 1 sad", **settings)


def test_settings_that_contradict_each_other():
    for settings, word in (
        ({"eight": True, "classes": ["sad", "happy"]}, "--eight"),
        ({"label_from": r"(\w+)/"}, "named label"),
        ({"label_from": "ferplus"}, "--labels-from"),
        ({"label_from": "("}, "no regular expression"),
        ({"label_map": "1:surprise"}, "label=class"),
        ({"label_map": "1=sad,1=fear"}, "one class"),
        ({"margin": 2.0}, "--margin 2"),
        ({"folds": 2}, "--folds 2"),
        ({"folds": 10, "fold": 10}, "--fold 10"),
        ({"fold": 1}, "--folds"),
        ({"angles": ("X",)}, "--angles X"),
    ):
        with pytest.raises(UserError, match=word):
            PrepareSettings(**settings)


def test_val_serves_as_test_where_there_is_none(forms, workspace):
    files = forms.emotion_folders(20, NAMES, top="train/") | forms.emotion_folders(
        4, NAMES, top="validation/"
    )
    summary = prepare(workspace, forms.tree(files))
    assert "val serves as test" in notes(summary) and "tenth of train" in notes(summary)
    assert [figures["count"] for figures in summary.data["splits"].values()] == [54, 6, 12]
    assert all("validation/" in row["source"] for row in read_csv(workspace.faces_csv("test")))
