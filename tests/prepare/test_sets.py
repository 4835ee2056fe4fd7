"""The data sets of the field: a replica of each one's layout, names and codes with drawn faces, and a wrong one."""

import io
import json
from collections import Counter
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fertool.cli import app
from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.emotions import EIGHT, EMOTIONS
from fertool.prepare.sets import fer2013
from fertool.prepare.sets.formats import list_formats
from fertool.prepare.sets.registry import SETS
from fertool.prepare.synthetic.faces import draw_faces
from fertool.runtime.files import read_csv, write_record
from fertool.runtime.reading import read_json
from fertool.workspace import SPLITS, Workspace
from tests.prepare.refusals import assert_refused

FACES = draw_faces(24, seed=1, size=48).images


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


class Drawing:
    """Drawn faces, no two alike: the running number stands in a corner."""

    def __init__(self):
        self.count = 0

    def face(self, suffix=".png"):
        pixels = FACES[self.count % len(FACES)].copy()
        pixels[:2, :16] = [int(bit) * 255 for bit in f"{self.count:016b}"]
        self.count += 1
        return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.fixture
def drawing():
    return Drawing()


def prepared(workspace, source, **settings):
    """The summary, and a row per face: split, class, file, and the table's other columns."""
    summary = prepare(workspace, source, PrepareSettings(**settings))
    rows = [
        {**row, "split": split, "class": summary.data["classes"][int(row["label"])]}
        for split in SPLITS
        for row in read_csv(workspace.faces_csv(split))
    ]
    return summary, rows


def said(summary):
    return "\n".join(summary.notes)


def persons_apart(rows):
    """Whether no person is in two splits, and persons are told."""
    splits = {}
    for row in rows:
        splits.setdefault(row["person"], set()).add(row["split"])
    return len(splits) > 2 and all(len(each) == 1 for each in splits.values())


# --- RAF-DB -----------------------------------------------------------------------------------------------

RAF = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}


def raf_db(drawing, folder="aligned"):
    """`basic/` with its list: twenty train pictures and seven test pictures a code."""
    files, lines = {}, []
    for part, count, digits in (("train", 14, 5), ("test", 7, 4)):
        for number in range(1, count * 2 + 1):
            stem = f"{part}_{number:0{digits}d}"
            lines.append(f"{stem}.jpg {1 + number % 7}")
            name = f"aligned/{stem}_aligned.jpg" if folder == "aligned" else f"original/{stem}.jpg"
            files[f"basic/Image/{name}"] = drawing.face(".jpg")
            landmarks = "\n".join(f"{x}.1\t{x}.2" for x in range(5))
            files[f"basic/Annotation/manual/{stem}_manu_attri.txt"] = (
                f"{landmarks}\n{number % 3}\n{number % 3}\n{number % 5}\n".encode()
            )
    return files | {"basic/EmoLabel/list_patition_label.txt": "\n".join(lines).encode()}


@pytest.mark.parametrize("folder", ["aligned", "original"])
def test_raf_db(forms, workspace, drawing, folder):
    summary, rows = prepared(workspace, forms.tree(raf_db(drawing, folder)))
    assert "RAF-DB basic" in said(summary) and "1 surprise" in said(summary)
    assert ("original pictures" in said(summary)) == (folder == "original")
    assert len(rows) == 42
    for row in rows:
        part, number = row["id"].split("_")
        assert row["class"] == RAF[1 + int(number) % 7]
        assert (row["split"] == "test") == (part == "test")
        assert row["sex"] == ("male", "female", "unsure")[int(number) % 3]
        assert row["age"] == ("0-3", "4-19", "20-39", "40-69", "70+")[int(number) % 5]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train_00003.jpg 8", ["row 3 (line 3)", "label '8'", "1 surprise"]),
        ("train_99999.jpg 5", ["row 3 (line 3)", "train_99999_aligned.jpg"]),
        ("val_00003.jpg 5", ["row 3 (line 3)", "val_00003.jpg"]),
        ("train_00003.jpg", ["row 3 (line 3)", "1 columns where 2"]),
    ],
)
def test_raf_db_wrong(forms, workspace, drawing, line, words):
    files = raf_db(drawing)
    lines = files["basic/EmoLabel/list_patition_label.txt"].decode().split("\n")
    lines[2] = line
    files["basic/EmoLabel/list_patition_label.txt"] = "\n".join(lines).encode()
    assert_refused(workspace, forms.tree(files), "list_patition_label.txt", *words)


def numbered_folders(drawing, codes, name="{part}_{number:05d}_aligned.jpg"):
    return {
        f"DATASET/{part}/{code}/{name.format(part=part, number=10 * int(code) + number)}": drawing.face(
            ".jpg"
        )
        for part, count in (("train", 3), ("test", 1))
        for code in codes
        for number in range(count)
    }


def test_raf_db_as_folders(forms, workspace, drawing):
    summary, rows = prepared(workspace, forms.zip(numbered_folders(drawing, range(1, 8))))
    assert "RAF-DB as folders 1 to 7" in said(summary)
    assert all(row["class"] == RAF[int(row["source"].split("/")[2])] for row in rows) and len(rows) == 28


@pytest.mark.parametrize(
    ("codes", "name"), [(range(7), "{part}_{number:05d}.jpg"), (range(1, 8), "{number}.jpg")]
)
def test_numbered_folders_of_another_set_are_asked_for(forms, workspace, drawing, codes, name):
    source = forms.tree(numbered_folders(drawing, codes, name))
    assert_refused(workspace, source, "is a number", "--label-map", "affectnet")
    summary, _ = prepared(workspace, source, label_map="affectnet", eight=7 in codes)
    assert "angry" in summary.data["classes"]


# --- AffectNet --------------------------------------------------------------------------------------------

AFFECTNET = (
    "neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt", "none", "uncertain", "no face",
)  # fmt: skip


def npy(value):
    data = io.BytesIO()
    np.save(data, np.array(value))
    return data.getvalue()


def affectnet(drawing, codes=range(8)):
    files = {}
    for part, count in (("train_set", 4), ("val_set", 1)):
        for number in range(count * len(codes)):
            code = codes[number % len(codes)]
            files[f"{part}/images/{number}.jpg"] = drawing.face(".jpg")
            for kind, value in (
                ("exp", str(code)),
                ("val", "-0.5"),
                ("aro", f"0.{number}"),
                ("lnd", [1.0] * 136),
            ):
                files[f"{part}/annotations/{number}_{kind}.npy"] = npy(value)
    return files


@pytest.mark.parametrize("eight", [False, True])
def test_affectnet(forms, workspace, drawing, eight):
    source = forms.tree(affectnet(drawing))
    summary, rows = prepared(workspace, source, eight=eight, keep=("valence", "arousal"))
    assert summary.data["classes"] == list(EIGHT if eight else EMOTIONS)
    assert summary.data["left_out"] == ({} if eight else {"contempt": 5})
    assert "val serves as test" in said(summary) and "7 contempt" in said(summary)
    for row in rows:
        number = int(PurePosixPath(row["source"]).stem)
        assert row["class"] == AFFECTNET[number % 8]
        assert (row["split"] == "test") == row["source"].startswith("val_set")
        assert (row["valence"], row["arousal"]) == ("-0.5", f"0.{number}")


def test_affectnet_wrong(forms, workspace, drawing):
    files = affectnet(drawing)
    assert_refused(
        workspace,
        forms.tree({**files, "train_set/annotations/3_exp.npy": npy("12")}, "a"),
        "train_set/annotations/3_exp.npy", "label '12'", "7 contempt",
    )  # fmt: skip
    assert_refused(
        workspace,
        forms.tree({**files, "val_set/annotations/3_exp.npy": b"x"}, "b"),
        "3_exp.npy",
        "not an .npy",
    )
    del files["train_set/annotations/3_exp.npy"]
    assert_refused(workspace, forms.tree(files, "c"), "3.jpg", "no annotation")


def affectnet_lists(drawing):
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    files, lists = {}, {"training": [header], "validation": [header]}
    for list_name, count in (("training", 44), ("validation", 11)):
        for number in range(count):
            path = f"{number % 3}/{list_name}{number}.jpg"
            code = number % 11
            box = "NULL,NULL,NULL,NULL" if code == 10 else "8,8,32,32"
            lists[list_name].append(f"{path},{box},{'1.5;2.5;' * 67}3;4,{code},0.{number},-2")
            if code < 8:
                files[f"AffectNet/Manually_Annotated_Images/{path}"] = drawing.face(".jpg")
    return files, {f"AffectNet/{name}.csv": "\n".join(lines).encode() for name, lines in lists.items()}


def test_affectnet_lists(forms, workspace, drawing):
    """Pictures without an expression are left out and counted: they need no box and no picture."""
    files, lists = affectnet_lists(drawing)
    summary, rows = prepared(workspace, forms.tree(files | lists), margin=0.25, eight=True)
    assert summary.data["left_out"] == {"no face": 5, "none": 5, "uncertain": 5}
    assert "AffectNet, the lists" in said(summary) and "val serves as test" in said(summary)
    for row in rows:
        name = PurePosixPath(row["source"]).stem
        number = int(name.removeprefix("training").removeprefix("validation"))
        assert row["class"] == AFFECTNET[number % 11] and row["valence"] == f"0.{number}"
        assert (row["split"] == "test") == name.startswith("validation")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0/training0.jpg", "0/gone.jpg", ["row 1 (line 2)", "0/gone.jpg"]),
        ("0/training0.jpg,8,8,32,32", "0/training0.jpg,90,8,32,32", ["row 1 (line 2)", "outside"]),
        ("0/training0.jpg,8,", "0/training0.jpg,", ["row 1 (line 2)", "8 columns where 9"]),
        (",4,0.4,-2", ",11,0.4,-2", ["row 5 (line 6)", "label '11'"]),
    ],
)
def test_affectnet_lists_wrong(forms, workspace, drawing, old, new, words):
    files, lists = affectnet_lists(drawing)
    name = "AffectNet/training.csv"
    changed = lists[name].replace(old.encode(), new.encode(), 1)
    assert changed != lists[name]
    assert_refused(workspace, forms.tree(files | lists | {name: changed}), "training.csv", *words)


# --- CK+ --------------------------------------------------------------------------------------------------

CK = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")


def ck(drawing, persons=range(10, 22)):
    """Two sequences a person, of five frames; the second one is labelled."""
    files = {}
    for person in persons:
        for sequence in (1, 2):
            at = f"S{person:03d}/{sequence:03d}"
            name = at.replace("/", "_")
            for frame in range(1, 6):
                files[f"cohn-kanade-images/{at}/{name}_{frame:08d}.png"] = drawing.face()
            if sequence == 2:
                code = float(1 + person % 7)
                files[f"Emotion/{at}/{name}_00000005_emotion.txt"] = f"   {code:.7e}\n".encode()
    return files


def test_ck(forms, workspace, drawing):
    source = forms.tree(ck(drawing, range(7, 28)))
    summary, rows = prepared(workspace, source, eight=True, folds=3)
    assert "CK+, sequences" in said(summary) and "21 of 42 sequences have a label" in said(summary)
    assert persons_apart(rows) and len(rows) == 21 * 4
    for row in rows:
        person, frame = int(row["person"][1:]), int(row["id"][-8:])
        assert frame in (1, 3, 4, 5) and row["sequence"] == f"S{person:03d}_002"
        assert row["class"] == ("neutral" if frame == 1 else CK[1 + person % 7])
    summary, rows = prepared(workspace, source, folds=3, fold=2)
    assert summary.data["left_out"] == {"contempt": 9}
    assert persons_apart(rows) and "fold 2 of 3 is test" in said(summary)
    assert {row["fold"] for row in rows if row["split"] == "test"} == {"2"}


def test_ck_wrong(forms, workspace, drawing):
    files = ck(drawing)
    label = "Emotion/S010/002/S010_002_00000005_emotion.txt"
    assert_refused(
        workspace, forms.tree({**files, label: b"   8.0000000e+00\n"}, "a"), label, "label '8'", "3 disgust"
    )
    assert_refused(workspace, forms.tree({**files, label: b""}, "b"), label, "label ''")
    short = {
        name: data
        for name, data in files.items()
        if "S010_002_00000003" not in name and "S010_002_00000004" not in name
    }
    assert_refused(workspace, forms.tree(short, "c"), label, "3 frames")
    pictures = {name: data for name, data in files.items() if name.endswith(".png")}
    assert_refused(workspace, forms.tree(pictures, "d"), "Emotion")
    assert_refused(workspace, forms.tree(files, "e"), "--folds 13", folds=13)


def ck48(drawing, name="S{person:03d}_{sequence:03d}_{frame:08d}.png"):
    return {
        f"CK+48/{emotion}/{name.format(person=10 + person, sequence=code, frame=17 + frame)}": drawing.face()
        for person in range(12)
        for code, emotion in enumerate(("anger", "contempt", "disgust", "happy"))
        for frame in range(2)
    }


def test_ck48(forms, workspace, drawing):
    summary, rows = prepared(workspace, forms.zip(ck48(drawing)), eight=False)
    assert "CK+48" in said(summary) and "persons kept together" in said(summary)
    assert persons_apart(rows) and summary.data["left_out"] == {"contempt": 24}


def test_sets_that_were_split_by_picture_before_are_made_again(forms, workspace, drawing):
    """An earlier version read CK+48 as any folders: its record knows the source and nothing of the set's reading."""
    source = forms.tree(ck48(drawing))
    prepared(workspace, source)
    record = read_json(workspace.dataset_json)
    assert record["made_from"]["sets"] == {"CK+48": 2}
    assert "up to date" in said(prepared(workspace, source)[0])
    del record["made_from"]["sets"]
    write_record(workspace.dataset_json, record)
    summary, rows = prepared(workspace, source)
    assert "up to date" not in said(summary) and persons_apart(rows)


def test_ck48_wrong(forms, workspace, drawing):
    """Other names tell no persons, so folds by person are refused and nobody is kept together."""
    source = forms.tree(ck48(drawing, "{person}-{sequence}-{frame}.png"))
    assert_refused(workspace, source, "--folds", "nothing", "persons", folds=3)
    assert "CK+" not in said(prepared(workspace, source)[0]).replace("CK+48)", "")


def test_a_person_of_ck48_in_folders_of_two_splits_is_named(forms, workspace, drawing):
    files = ck48(drawing)
    halves = [name.replace("CK+48", ("train", "test")[number % 2]) for number, name in enumerate(files)]
    source = forms.tree(dict(zip(halves, files.values(), strict=True)))
    assert_refused(workspace, source, "person 'S010'", "take the pictures out of the splits' folders")


def ckextended(forms):
    rows = [
        (code, usage)
        for usage, count in (("Training", 3), ("PublicTest", 1), ("PrivateTest", 1))
        for _ in range(count)
        for code in range(8)
    ]
    return forms.csv_text(forms.faces(len(rows)), rows)


def test_ckextended_is_not_fer2013(forms, workspace):
    path = forms.folder / "ckextended.csv"
    path.write_text(ckextended(forms))
    summary, _ = prepared(workspace, path)
    assert summary.data["name"] == "ckextended" and "7 is contempt" in said(summary)
    assert summary.data["left_out"] == {"contempt": 5}
    assert prepared(workspace, path, eight=True)[0].data["classes"] == list(EIGHT)


def test_ckextended_wrong(forms, workspace):
    path = forms.folder / "faces.csv"
    path.write_text(ckextended(forms))
    assert_refused(workspace, path, "row 8 (line 9)", "emotion '7'", "--label-map ckextended")
    assert prepared(workspace, path, label_map="ckextended", eight=True)[0].data["classes"] == list(EIGHT)
    path = forms.folder / "ckextended.csv"
    path.write_text(ckextended(forms).replace("\n7,", "\n8,", 1))
    with pytest.raises(UserError, match=r"emotion '8'.*7 contempt"):
        prepare(workspace, path)


# --- JAFFE and KDEF ---------------------------------------------------------------------------------------


def jaffe(drawing):
    codes = ("NE", "HA", "SA", "SU", "AN", "DI", "FE")
    numbers = iter(range(1, 1000))
    return {
        f"jaffe/{person}.{code}{shot}.{next(numbers)}.tiff": drawing.face(".tiff")
        for person in ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
        for code in codes
        for shot in (1, 2)
    }


def test_jaffe(forms, workspace, drawing):
    files = jaffe(drawing)
    summary, rows = prepared(
        workspace, forms.zip(files | {"jaffe/README": b"x", "jaffe/sheet.png": drawing.face()})
    )
    names = {
        "NE": "neutral", "HA": "happy", "SA": "sad", "SU": "surprise", "AN": "angry", "DI": "disgust", "FE": "fear",
    }  # fmt: skip
    assert "JAFFE, by its file names" in said(summary) and "1 pictures that are not named" in said(summary)
    assert persons_apart(rows) and len(rows) == len(files)
    for row in rows:
        person, code, *_ = PurePosixPath(row["source"]).name.split(".")
        assert (row["person"], row["class"]) == (person, names[code[:2]])


def test_jaffe_wrong(forms, workspace, drawing):
    files = jaffe(drawing)
    assert_refused(
        workspace, forms.tree({**files, "jaffe/KA.XX1.900.tiff": drawing.face(".tiff")}), "KA.XX1.900", "'XX'"
    )


def kdef(drawing):
    return {
        f"KDEF/{series}{sex}{person:02d}/{series}{sex}{person:02d}{code}{angle}.JPG": drawing.face(".jpg")
        for person in range(1, 6)
        for series in "AB"
        for sex in "FM"
        for code in ("AF", "AN", "HA")
        for angle in ("S", "HL", "FR")
    }


def test_kdef(forms, workspace, drawing):
    source = forms.tree(kdef(drawing))
    summary, rows = prepared(workspace, source)
    assert "KDEF" in said(summary) and "120 pictures of other angles left out" in said(summary)
    assert persons_apart(rows) and len(rows) == 60 and len({row["person"] for row in rows}) == 10
    for row in rows:
        name = PurePosixPath(row["source"]).name
        assert row["class"] == {"AF": "fear", "AN": "angry", "HA": "happy"}[name[4:6]]
        assert (row["series"], row["sex"], row["angle"]) == (
            name[0],
            {"F": "female", "M": "male"}[name[1]],
            "S",
        )
    _, rows = prepared(workspace, source, angles=("S", "HL"))
    assert Counter(row["angle"] for row in rows) == {"S": 60, "HL": 60}


def test_kdef_wrong(forms, workspace, drawing):
    files = kdef(drawing)
    assert_refused(workspace, forms.tree(files, "a"), "angle HR", angles=("HR",))
    assert_refused(
        workspace,
        forms.tree({**files, "KDEF/AF01/AF01XXS.JPG": drawing.face(".jpg")}, "b"),
        "AF01XXS",
        "'XX'",
    )
    assert_refused(workspace, forms.tree(jaffe(drawing), "c"), "--angles", "only KDEF", angles=("S",))


# --- ExpW, SFEW, CAER-S -----------------------------------------------------------------------------------


def expw(drawing):
    """Thirty pictures of two faces each, side by side: drawn faces of 48 pixels in a picture of 100 by 60."""
    files, lines = {}, []
    for number in range(30):
        picture = np.zeros((60, 100), np.uint8)
        for face in (0, 1):
            left = 1 + 50 * face
            picture[6:54, left : left + 48] = cv2.imdecode(np.frombuffer(drawing.face(), np.uint8), 0)
            code = (2 * number + face) % 7
            lines.append(f"faces_{number}.jpg {face} 6 {left} {left + 48} 54 {90 + face}.25 {code}")
        files[f"image/origin/faces_{number}.jpg"] = cv2.imencode(".jpg", picture, [1, 100])[1].tobytes()
    return files, lines


def test_expw(forms, workspace, drawing):
    files, lines = expw(drawing)
    source = forms.tree({**files, "label/label.lst": "\n".join(lines).encode()})
    summary, rows = prepared(workspace, source)
    assert "ExpW" in said(summary) and len(rows) == 60
    names = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    faces = {row["id"]: workspace.load_faces(row["split"])[int(row["row"])] for row in rows}
    for row in rows:
        number = int(row["source"].split("_")[1].split(".")[0])
        second = row["id"].endswith("#2")
        assert row["class"] == names[(2 * number + second) % 7] and row["confidence"] == f"{90 + second}.25"
        index = (2 * number + second) % len(FACES)
        # the corner holds the face's number
        assert np.abs(faces[row["id"]][4:].astype(int) - FACES[index][4:]).mean() < 4


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("faces_3.jpg 0 6 1 49 54 90.1 7", ["row 3 (line 3)", "label '7'", "6 neutral"]),
        ("faces_3.jpg 0 6 400 449 54 90.1 1", ["row 3 (line 3)", "outside the picture of 100 x 60"]),
        ("gone.jpg 0 6 1 49 54 90.1 1", ["row 3 (line 3)", "gone.jpg"]),
        ("faces_3.jpg 0 6 1 49 54 1", ["row 3 (line 3)", "7 columns where 8"]),
    ],
)
def test_expw_wrong(forms, workspace, drawing, line, words):
    files, lines = expw(drawing)
    lines[2] = line
    assert_refused(
        workspace, forms.tree({**files, "label/label.lst": "\n".join(lines).encode()}), "label.lst", *words
    )


def sfew(drawing, folders=("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")):
    files = {
        f"{part}/{part}_Aligned_Faces/{folder}/Film_{number}_{code}.png": drawing.face()
        for part, count in (("Train", 4), ("Val", 2))
        for code, folder in enumerate(folders)
        for number in range(count)
    }
    return files | {f"Test/Test_Aligned_Faces/Film_{number}.png": drawing.face() for number in range(3)}


def test_sfew(forms, workspace, drawing):
    summary, rows = prepared(workspace, forms.zip(sfew(drawing)))
    assert "SFEW 2.0" in said(summary) and "3 pictures of Test have no labels" in said(summary)
    assert "val serves as test" in said(summary)
    assert Counter(row["split"] for row in rows) == {"train": 21, "val": 7, "test": 14}
    for row in rows:
        part, _, folder, _ = row["source"].split("/")
        assert row["class"] == folder.lower() and (row["split"] == "test") == (part == "Val")


def test_sfew_wrong(forms, workspace, drawing):
    assert_refused(workspace, forms.tree(sfew(drawing, ("1", "2", "3"))), "fewer than two classes", "1, 2, 3")


def caer(
    drawing, folders=("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"), name="{:04d}.png"
):
    return {
        f"CAER-S/{part}/{folder}/{name.format(number + 1)}": drawing.face()
        for part, count in (("train", 3), ("test", 1))
        for folder in folders
        for number in range(count)
    }


def test_caer_s_says_that_faces_were_not_searched(forms, workspace, drawing):
    summary, rows = prepared(workspace, forms.tree(caer(drawing)))
    assert summary.data["name"] == "CAER-S" and "--crop-faces" in said(summary)
    assert Counter(row["split"] for row in rows) == {"train": 14, "val": 7, "test": 7}


def test_caer_s_wrong(forms, workspace, drawing):
    """Ordinary folders are not taken for it."""
    summary, _ = prepared(workspace, forms.tree(caer(drawing, name="face{}.png")))
    assert summary.data["name"] == "set" and "--crop-faces" not in said(summary)


# --- FER+ as folders, FER2013 in two parts ----------------------------------------------------------------

VOTED = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "not_face")


def fer_plus(drawing):
    files, number = {}, 2
    for part, count in (("Train", 3), ("Valid", 1), ("Test", 1)):
        lines = []
        for answer in [*range(10)] * count:
            votes = [0] * 10
            votes[answer], votes[(answer + 1) % 10] = 7, 3
            name = f"fer{number:07d}.png"
            files[f"data/FER2013{part}/{name}"] = drawing.face()
            lines.append(f'{name},"(0, 0, 48, 48)",{",".join(map(str, votes))}')
            number += 1
        files[f"data/FER2013{part}/label.csv"] = "\n".join(lines).encode()
    return files


@pytest.mark.parametrize("eight", [False, True])
def test_fer_plus_folders(forms, workspace, drawing, eight):
    summary, rows = prepared(workspace, forms.tree(fer_plus(drawing)), eight=eight)
    assert "FER+ folders" in said(summary)
    assert Counter(row["split"] for row in rows) == {
        "train": 21 + 3 * eight,
        "val": 7 + eight,
        "test": 7 + eight,
    }
    left_out = {"not_face": 5, "unknown": 5} | ({} if eight else {"contempt": 5})
    assert summary.data["left_out"] == left_out
    for row in rows:
        answer = (int(row["id"][3:]) - 2) % 10
        assert row["class"] == VOTED[answer]
        assert (row[f"votes_{VOTED[answer]}"], row[f"votes_{VOTED[(answer + 1) % 10]}"]) == ("7", "3")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("7,3,", "7,x,", ["row 1 (line 1)", "whole numbers"]),
        ("fer0000002.png", "fer9999999.png", ["row 1 (line 1)", "fer9999999.png"]),
        ("(0, 0, 48, 48)", "(4, 0, 48, 48)", ["row 1 (line 1)", "box"]),
        (',"(0, 0, 48, 48)"', "", ["11 columns where 12"]),
    ],
)
def test_fer_plus_folders_wrong(forms, workspace, drawing, old, new, words):
    files = fer_plus(drawing)
    name = "data/FER2013Train/label.csv"
    files[name] = files[name].replace(old.encode(), new.encode(), 1)
    assert_refused(workspace, forms.tree(files), "label.csv", *words)


def test_fer2013_in_two_parts(forms, workspace, drawing, monkeypatch):
    monkeypatch.setattr(fer2013, "TWO_PARTS", {"train": 28, "val": 14})
    files = forms.emotion_folders(4, top="images/train/") | forms.emotion_folders(2, top="images/validation/")
    summary, rows = prepared(workspace, forms.tree(files))
    assert summary.data["name"] == "FER2013" and "do not compare" in said(summary)
    assert "val serves as test" in said(summary)
    assert Counter(row["split"] for row in rows) == {"train": 21, "val": 7, "test": 14}


def test_fer2013_in_two_parts_wrong(forms, workspace, drawing):
    files = forms.emotion_folders(4, top="images/train/") | forms.emotion_folders(2, top="images/validation/")
    assert prepared(workspace, forms.tree(files))[0].data["name"] == "set"


# --- all of them ------------------------------------------------------------------------------------------


def test_two_sets_in_one_folder_are_asked_for(forms, workspace, drawing):
    files, lines = expw(drawing)
    source = forms.tree({**files, "label/label.lst": "\n".join(lines).encode(), **raf_db(drawing)})
    assert_refused(workspace, source, "forms of RAF-DB basic and ExpW")


def test_the_list_of_formats_names_every_set():
    for table in list_formats().tables:
        assert [row[0] for row in table.rows] == [each.name for each in SETS]
        assert all(all(row) for row in table.rows)


def test_the_command_lists_formats_and_takes_the_options(forms, workspace, drawing):
    run = CliRunner().invoke(app, ["prepare", "--list-formats", "--json"])
    assert {each["name"] for each in json.loads(run.stdout)["formats"]} == {each.name for each in SETS}
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 2
    source = forms.tree(kdef(drawing))
    options = ["--angles", "S,FR", "--classes", "happy,fear", "--folds", "4", "--fold", "1", "--json"]
    run = CliRunner().invoke(app, ["prepare", str(source), *options, "-w", str(workspace.root)])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["settings"]["folds"] == 4
    assert len(workspace.load_labels("test")) + len(workspace.load_labels("train")) > 40


@pytest.mark.parametrize(
    "option", [{"margin": 0.1}, {"keep": ("age",)}, {"columns": "path=0"}, {"angles": ("S",)}]
)
def test_an_option_without_use_is_refused(forms, workspace, option):
    source = forms.tree(forms.emotion_folders(4))
    assert_refused(workspace, source, f"--{next(iter(option))}", **option)
    path = forms.folder / "fer2013.csv"
    rows = forms.challenge_rows({"Training": 2, "PublicTest": 1, "PrivateTest": 1})
    Path(path).write_text(forms.csv_text(forms.faces(len(rows)), rows))
    assert_refused(workspace, path, f"--{next(iter(option))}", **option)
