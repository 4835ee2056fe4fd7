"""Archives and names as Windows and macOS write them, and data sets that look like the challenge's."""

import os
import unicodedata
import zipfile

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.sources.labelled_faces import CHALLENGE_COUNTS
from fertool.runtime.files import read_csv
from fertool.workspace import SPLITS, Workspace
from tests.prepare.refusals import assert_refused


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


def contents(workspace):
    return {
        split: (
            workspace.load_faces(split).tobytes(),
            [row["id"] for row in read_csv(workspace.faces_csv(split))],
        )
        for split in SPLITS
    }


def raw_zip(forms, files):
    """A zip whose members are named just so, in UTF-8 that is not said to be."""
    with zipfile.ZipFile(forms.folder / "raw.zip", "w") as archive:
        for number, data in enumerate(files.values()):
            archive.writestr(f"{number:060d}", data)
    data = (forms.folder / "raw.zip").read_bytes()
    for number, name in enumerate(files):
        raw = name.encode()
        padded = raw if len(raw) == 60 else raw.replace(b"PAD", b"p" * (60 - len(raw) + 3))
        data = data.replace(b"%060d" % number, padded)
    (forms.folder / "raw.zip").write_bytes(data)
    return forms.folder / "raw.zip"


@pytest.mark.parametrize("folders", [True, False])
def test_backslashes_of_windows_are_folders(forms, workspace, folders):
    files = forms.emotion_folders(4, top="train/") | forms.emotion_folders(2, top="test/")
    written = {name.replace("/", "\\"): data for name, data in files.items()}
    if folders:
        written |= {"train\\": b"", "train\\happy\\": b""}
    prepare(workspace, forms.zip(files, "slashes.zip"))
    again = Workspace(workspace.root.parent / "again")
    prepare(again, forms.zip(written, "backslashes.zip"))
    assert contents(workspace) == contents(again)


def test_what_macos_adds_is_left_out(forms, workspace):
    files = forms.emotion_folders(4, top="set/")
    added = {
        "__MACOSX/set/happy/._000.png": b"\0\x05\x16\x07", "__MACOSX/._set": b"x", "set/.DS_Store": b"x",
        "set/happy/._001.png": b"\0\x05\x16\x07", "__MACOSX/": b"", "set/": b"", "set/happy/": b"",
    }  # fmt: skip
    prepare(workspace, forms.zip(files, "plain.zip"))
    again = Workspace(workspace.root.parent / "again")
    prepare(again, forms.zip(added | files, "mac.zip"))
    assert contents(workspace) == contents(again)


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("form", ["tree", "zip", "tar"])
def test_names_are_compared_as_they_are_composed(forms, workspace, form, written, asked):
    files = forms.emotion_folders(4, [unicodedata.normalize(written, "Gêné"), "sad", "happy"])
    settings = PrepareSettings(classes=[unicodedata.normalize(asked, "gêné"), "sad"])
    summary = prepare(workspace, getattr(forms, form)(files), settings)
    assert summary.data["classes"] == ["sad", unicodedata.normalize("NFC", "gêné")]


def test_utf8_that_a_zip_does_not_say_is_utf8(forms, workspace):
    faces = iter(forms.faces(20))
    files = {
        f"{name}/PAD{number}.png": forms.picture(next(faces))
        for name in ("gêné", "sad")
        for number in range(10)
    }
    summary = prepare(workspace, raw_zip(forms, files), PrepareSettings(classes=["gêné", "sad"]))
    assert summary.data["classes"] == ["sad", "gêné"]


def test_a_name_that_is_not_utf8_keeps_the_faces_that_are_there(forms, workspace):
    """Not the source's own, which stands in dataset.json, nor that of the votes or of a csv."""
    prepare(workspace, forms.tree(forms.emotion_folders(4)))
    odd = forms.folder / os.fsdecode(b"\xff\xfe set")
    rows = forms.challenge_rows({"Training": 2, "PublicTest": 1, "PrivateTest": 1})
    text = forms.csv_text(forms.faces(len(rows)), rows)
    odd.write_text(text)
    summary = prepare(workspace, odd)
    assert summary.data["source"]["name"] == r"\xff\xfe set"
    assert read_csv(workspace.faces_csv("test"))[0]["source"] == r"\xff\xfe set"
    odd.unlink()
    odd.mkdir()
    for name, data in forms.emotion_folders(5).items():
        (odd / name).parent.mkdir(exist_ok=True)
        (odd / name).write_bytes(data)
    assert prepare(workspace, odd).data["name"] == r"\xff\xfe set"


@pytest.mark.parametrize("settings", [{"group_by": "\udcff"}, {"classes": ["happy", "\udcff"]}])
def test_settings_that_are_not_utf8_are_refused_before_anything_is_touched(settings):
    with pytest.raises(UserError, match="UTF-8"):
        PrepareSettings(**settings)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "x" * 200])
def test_classes_that_no_table_can_show_are_refused(forms, workspace, name):
    with pytest.raises(UserError, match="rename it") as caught:
        prepare(
            workspace,
            forms.tree(forms.emotion_folders(4, ["happy", name])),
            PrepareSettings(classes=["happy", name]),
        )
    assert len(str(caught.value).splitlines()) == 1 and not workspace.root.exists()


# --- the challenge, and what looks like it ----------------------------------------------------------------


def table(forms, header="emotion,pixels,Usage", **changes):
    rows = forms.challenge_rows({"Training": 3, "PublicTest": 1, "PrivateTest": 1})
    text = forms.csv_text(forms.faces(len(rows)), rows, header)
    for old, new in changes.items():
        text = text.replace(old, new)
    return text.encode()


def test_only_the_whole_challenge_is_called_fer2013(forms, workspace, monkeypatch):
    source = forms.tree({"ckextended.csv": table(forms)})
    assert prepare(workspace, source).data["name"] == "ckextended"
    for usage, count in {"Training": 21, "PublicTest": 7, "PrivateTest": 7}.items():
        monkeypatch.setitem(CHALLENGE_COUNTS, usage, count)
    assert prepare(workspace, source, force=True).data["name"] == "FER2013"


def test_pictures_named_as_the_challenges_are_not_all_of_it(forms, workspace):
    rows = forms.challenge_rows({"Training": 3, "PublicTest": 1, "PrivateTest": 1})
    summary = prepare(workspace, forms.tree(forms.fer2013_folders(forms.faces(len(rows)), rows), "part"))
    assert summary.data["name"] == "part" and summary.data["kind"] == "FER2013 pictures"


def test_what_would_help_is_said_of_files_like_the_challenges(forms, workspace):
    no_usage = table(forms, "emotion,pixels")
    assert_refused(workspace, forms.tree({"own.csv": no_usage}, "a"), "own.csv", "Usage", "PublicTest")
    assert_refused(
        workspace,
        forms.tree({"train.csv": no_usage, "test.csv": table(forms, "pixels")}, "b"),
        "train.csv and test.csv", "icml_face_data.csv",
    )  # fmt: skip
    rows = table(forms).decode().splitlines()
    named = "\n".join([rows[0], *("happy" + row[1:] for row in rows[1:])])
    assert_refused(
        workspace, forms.tree({"names.csv": named.encode()}, "c"), "names.csv", "row 1 ", "a name", "3 happy"
    )
    assert_refused(workspace, forms.tree({"other.csv": b"a,b\n1,2\n"}, "d"), "emotion, pixels and Usage")


def test_faces_of_a_name_within_the_workspace_are_numbers_of_their_rows(forms, workspace):
    prepare(workspace, forms.tree({"x.csv": table(forms)}))
    assert workspace.load_faces("val").shape == (7, 48, 48)
    assert np.array_equal(workspace.load_labels("val"), np.arange(7))
