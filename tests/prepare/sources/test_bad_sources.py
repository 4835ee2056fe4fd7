"""Bad input: one line that names file and row, and a workspace as it was before."""

import gzip
import io
import os
import re
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.workspace import Workspace

USAGES = {"Training": 3, "PublicTest": 1, "PrivateTest": 1}


@pytest.fixture
def workspace(tmp_path, forms):
    """A workspace with faces in it."""
    workspace = Workspace(tmp_path / "data")
    prepare(workspace, forms.tree(forms.emotion_folders(4), "good"))
    return workspace


def refused(workspace, source, *words, **settings):
    """Check that `source` is refused in one line with all of `words`, and that workspaces are left alone."""
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        prepare(workspace, source, PrepareSettings(**settings))
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message
    elsewhere = Workspace(workspace.root.parent / "elsewhere")
    with pytest.raises(UserError):
        prepare(elsewhere, source, PrepareSettings(**settings))
    assert not elsewhere.root.exists()
    return message


def rows_of(forms, usages=USAGES):
    rows = forms.challenge_rows(usages)
    return forms.csv_text(forms.faces(len(rows)), rows).splitlines()


def csv_file(forms, lines):
    (forms.folder / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return forms.folder / "fer2013.csv"


def test_no_such_file(forms, workspace):
    refused(workspace, forms.folder / "absent.zip", "absent.zip", "no such file")


def test_something_else(forms, workspace):
    (forms.folder / "notes.txt").write_text("nothing of the kind\n")
    refused(workspace, forms.folder / "notes.txt", "notes.txt")
    (forms.folder / "empty.csv").write_text("")
    refused(workspace, forms.folder / "empty.csv", "empty.csv")
    (forms.folder / "void").mkdir()
    refused(workspace, forms.folder / "void", "void")
    refused(workspace, forms.zip({}, "empty.zip"), "empty.zip")


def test_csv_without_the_columns(forms, workspace):
    lines = rows_of(forms)
    lines[0] = "emotion,pixels"
    refused(workspace, csv_file(forms, lines), "fer2013.csv", "emotion", "pixels", "Usage")


def test_csv_without_rows(forms, workspace):
    refused(workspace, csv_file(forms, rows_of(forms)[:1]), "fer2013.csv", "no rows")


def with_field(line, index, change):
    fields = line.split(",")
    fields[index] = change(fields[index])
    return ",".join(fields)


def nth_pixel(number, value):
    def change(pixels):
        values = pixels.split(" ")
        values[number - 1] = value
        return " ".join(values)

    return change


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        (1, lambda pixels: pixels.rsplit(" ", 1)[0], ["2303 pixels", "2304"]),
        (1, lambda pixels: pixels + " 7", ["2305 pixels"]),
        (1, lambda pixels: "", ["0 pixels"]),
        (1, nth_pixel(5, "256"), ["pixel 5", "'256'"]),
        (1, nth_pixel(2304, "-1"), ["pixel 2304", "'-1'"]),
        (1, nth_pixel(1, "x"), ["pixel 1", "'x'"]),
        (1, nth_pixel(7, "1.5"), ["pixel 7", "'1.5'"]),
        (1, nth_pixel(7, "1+2"), ["pixel 7", "'1+2'"]),
        (1, nth_pixel(7, str(2**64)), ["pixel 7"]),
        (0, lambda _: "7", ["emotion '7'"]),
        (0, lambda _: "", ["emotion ''"]),
        (0, lambda _: "happy", ["emotion 'happy'"]),
        (2, lambda _: "Test", ["Usage 'Test'"]),
        (2, lambda _: "Training,1", ["4 columns"]),
    ],
)
@pytest.mark.parametrize("row", [1, 35])
def test_bad_row_is_named(forms, workspace, row, field, change, words):
    lines = rows_of(forms)
    lines[row] = with_field(lines[row], field, change)
    refused(workspace, csv_file(forms, lines), "fer2013.csv", f"row {row} (line {row + 1})", *words)


def test_short_and_long_rows_that_add_up_are_still_found(forms, workspace):
    lines = rows_of(forms)
    lines[4] = with_field(lines[4], 1, lambda pixels: pixels.rsplit(" ", 1)[0])
    lines[5] = with_field(lines[5], 1, lambda pixels: pixels + " 0")
    refused(workspace, csv_file(forms, lines), "row 4 ", "2303 pixels")


def test_bad_row_far_down_in_an_archive(forms, workspace):
    rows = forms.challenge_rows({"Training": 150, "PublicTest": 1, "PrivateTest": 1})
    lines = forms.csv_text(np.zeros((len(rows), 48, 48), np.uint8), rows).splitlines()
    lines[1040] = with_field(lines[1040], 1, nth_pixel(9, "300"))
    source = forms.zip({"data/fer2013.csv": "\n".join(lines).encode()})
    refused(workspace, source, "set.zip", "data/fer2013.csv", "row 1040 ", "'300'")


def test_truncated_csv(forms, workspace):
    text = "\n".join(rows_of(forms))
    (forms.folder / "fer2013.csv").write_text(text[: -len(text) // 80])
    refused(workspace, forms.folder / "fer2013.csv", "fer2013.csv", "row 35 ", "truncated")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("form", ["csv.gz", "tar.gz", "csv.zip", "pictures.zip", "pictures.tar"])
def test_truncated_archive(forms, workspace, form, share):
    data = "\n".join(rows_of(forms)).encode()
    if form == "csv.gz":
        whole = gzip.compress(data)
    elif form == "tar.gz":
        whole = forms.tar({"fer2013/fer2013.csv": data}).read_bytes()
    elif form == "csv.zip":
        whole = forms.zip({"fer2013.csv": data}).read_bytes()
    elif form == "pictures.zip":
        whole = forms.zip(forms.emotion_folders(4)).read_bytes()
    else:
        whole = forms.tar(forms.emotion_folders(4), "set.tar").read_bytes().rstrip(b"\0")
    cut = forms.folder / f"cut.{form}"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(workspace, cut, cut.name, "truncated")


@pytest.mark.parametrize("form", ["set.tar", "set.tar.gz"])
def test_tar_whose_headers_end_early(forms, workspace, form):
    """`tarfile` takes a damaged header for the end where it is not the first one."""
    files = forms.emotion_folders(4)
    whole = forms.tar(files, form)
    data = bytearray(whole.read_bytes() if form == "set.tar" else gzip.decompress(whole.read_bytes()))
    header = data.rindex(b"surprise/003.png")

    def refused_as(data, *words):
        whole.write_bytes(data if form == "set.tar" else gzip.compress(data))
        refused(workspace, whole, form, *words)

    refused_as(data[: header + 50], "truncated")
    refused_as(data[:header], "truncated")
    data[header + 150] ^= 1  # in the sum of the header
    refused_as(data, "damaged")


def test_hard_link_to_what_is_not_there(forms, workspace):
    source = forms.tar(forms.emotion_folders(4), "set.tar")
    with tarfile.open(source, "a") as archive:
        link = tarfile.TarInfo("happy/link.png")
        link.type, link.linkname = tarfile.LNKTYPE, "happy/absent.png"
        archive.addfile(link)
    refused(workspace, source, "set.tar", "happy/link.png", "happy/absent.png")


def test_zip_packed_in_a_way_that_is_not_known(forms, workspace):
    source = forms.zip(forms.emotion_folders(4))
    data = bytearray(source.read_bytes())
    for match in re.finditer(b"PK\x01\x02|PK\x03\x04", bytes(data)):
        at = match.start() + (10 if data[match.start() + 2] == 1 else 8)
        data[at : at + 2] = struct.pack("<H", 9)  # Deflate64
    source.write_bytes(data)
    refused(workspace, source, "set.zip", "unpack it")


def test_link_to_nothing(forms, workspace):
    source = forms.tree(forms.emotion_folders(4))
    (source / "sad" / "gone.png").symlink_to("../../objects/12.png")
    refused(workspace, source, "sad/gone.png", "link to nothing")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_folder_that_may_not_be_read(forms, workspace):
    source = forms.tree(forms.emotion_folders(4))
    (source / "sad").chmod(0)
    refused(workspace, source, "sad", "cannot be read")
    (source / "sad").chmod(0o755)


@pytest.mark.parametrize("form", ["tree", "tar"])
def test_names_that_are_not_utf8(forms, workspace, form):
    name = os.fsdecode(b"happy/\xfcber.png")
    source = getattr(forms, form)({**forms.emotion_folders(4), name: forms.picture(forms.faces(1)[0])})
    refused(workspace, source, "happy/\\xfcber.png", "UTF-8")


def test_damaged_member(forms, workspace):
    source = forms.zip(forms.emotion_folders(4))
    data = bytearray(source.read_bytes())
    at = data.index(b"happy/002.png") + 200
    data[at : at + 20] = bytes(20)
    source.write_bytes(data)
    refused(workspace, source, "set.zip", "happy/002.png", "damaged")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.95])
def test_truncated_picture(forms, workspace, suffix, share):
    files = forms.emotion_folders(4)
    whole = forms.picture(forms.faces(1, seed=5)[0], suffix)
    files[f"sad/cut{suffix}"] = whole[: int(len(whole) * share)]
    refused(workspace, forms.tree(files, "set"), f"sad/cut{suffix}", "truncated")


def test_no_picture_in_an_archive(forms, workspace):
    files = forms.emotion_folders(4)
    files["fear/page.jpg"] = b"<html>not found</html>"
    refused(workspace, forms.zip(files), "set.zip", "fear/page.jpg")


@pytest.mark.parametrize(
    "name", ["../evil.png", "happy/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png"]
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_member_that_points_outside(forms, workspace, name, form):
    files = {**forms.emotion_folders(4), name: forms.picture(forms.faces(1)[0])}
    refused(workspace, getattr(forms, form)(files), "evil.png", "outside")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_link_that_points_outside(forms, workspace, kind):
    with tarfile.open(forms.folder / "set.tar", "w") as archive:
        for name, data in forms.emotion_folders(4).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("happy/link.png")
        link.type, link.linkname = kind, "../../etc/passwd"
        archive.addfile(link)
    refused(
        workspace,
        forms.folder / "set.tar",
        "happy/link.png" if kind == tarfile.SYMTYPE else "../etc",
        "outside",
    )


def test_zip_link_that_points_outside(forms, workspace):
    with zipfile.ZipFile(forms.zip(forms.emotion_folders(4)), "a") as archive:
        link = zipfile.ZipInfo("happy/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    refused(workspace, forms.folder / "set.zip", "happy/link.png", "outside")


def test_links_inside_an_archive_are_left_out(forms, workspace):
    with tarfile.open(forms.folder / "set.tar", "w") as archive:
        for name, data in forms.emotion_folders(4).items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("./happy/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../sad/001.png"
        archive.addfile(link)
    summary = prepare(workspace, forms.folder / "set.tar")
    assert sum(split["count"] for split in summary.data["splits"].values()) == 28


@pytest.mark.parametrize("form", ["zip", "gz", "tar.gz"])
def test_bomb(forms, workspace, form):
    zeros = bytes(66 * 2**20)
    header = b"emotion,pixels,Usage\n"
    match form:
        case "zip":
            source = forms.zip({**forms.emotion_folders(4), "bomb.csv": zeros})
        case "gz":
            source = forms.folder / "bomb.csv.gz"
            source.write_bytes(gzip.compress(header + (b" " * 1000 + b"\n") * 68_000, 1))
        case _:
            source = forms.tar({"fer2013/fer2013.csv": header + zeros})
    refused(workspace, source, source.name, "100 times")


def test_zip_that_lies_about_its_sizes(forms, workspace):
    files = forms.emotion_folders(4)
    source = forms.zip(files)
    data = bytearray(source.read_bytes())
    size = struct.pack("<I", len(files["sad/001.png"]))
    central = data.rindex(b"sad/001.png") - 46
    assert data[central + 24 : central + 28] == size
    data[central + 24 : central + 28] = struct.pack("<I", 100)
    source.write_bytes(data)
    refused(workspace, source, "sad/001.png")


def test_encrypted_zip(forms, workspace):
    source = forms.zip(forms.emotion_folders(4))
    data = bytearray(source.read_bytes())
    for match in re.finditer(b"PK\x01\x02", bytes(data)):
        data[match.start() + 8] |= 1
    source.write_bytes(data)
    refused(workspace, source, "set.zip", "encrypted")


def test_empty_split(forms, workspace):
    no_test = forms.tree(forms.emotion_folders(4, top="train/") | forms.emotion_folders(2, top="val/"), "a")
    (no_test / "test" / "happy").mkdir(parents=True)  # without it val serves as test
    refused(workspace, no_test, "'test'")
    no_train = forms.tree(forms.emotion_folders(4, top="test/"), "b")
    refused(workspace, no_train, "'train'")
    lines = rows_of(forms, {"Training": 3, "PublicTest": 1})
    refused(workspace, csv_file(forms, lines), "'test'")


def test_empty_class(forms, workspace):
    source = forms.tree(forms.emotion_folders(4, ["happy", "sad"]))
    (source / "fear").mkdir()
    refused(workspace, source, "'fear'")
    in_zip = forms.zip({**forms.emotion_folders(4, ["happy", "sad"]), "fear/": b""})
    refused(workspace, in_zip, "'fear'")
    lines = [line for line in rows_of(forms) if not line.startswith("1,")]
    refused(workspace, csv_file(forms, lines), "'disgust'", "train")
    files = forms.emotion_folders(4, top="train/") | forms.emotion_folders(1, ["happy", "sad"], "test/")
    refused(workspace, forms.tree(files, "c"), "'angry'", "'test'")
    kept = prepare(
        workspace, forms.folder / "fer2013.csv", PrepareSettings(classes=["angry", "fear", "happy"])
    )
    assert kept.data["classes"] == ["angry", "fear", "happy"]


def test_classes_that_are_not_there(forms, workspace):
    source = forms.tree(forms.emotion_folders(4, ["happy", "sad", "bored"]))
    refused(workspace, source, "'contempt'", "bored", classes=["happy", "contempt"])
    refused(workspace, source, "two classes", classes=["happy"])
    refused(workspace, forms.tree(forms.emotion_folders(4, ["1", "2", "3"]), "raf"), "1, 2, 3")
    only_angry = [line for number, line in enumerate(rows_of(forms)) if number == 0 or line[0] == "0"]
    refused(workspace, csv_file(forms, only_angry), "no face", classes=["happy", "sad"])


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"group_by": "("}, "regular expression"),
        ({"group_by": r"^S\d+"}, "finds nothing"),
        ({"group_by": r"^(S\d+)|^\d"}, "not its first group"),
        ({"seed": -1}, "--seed -1"),
        ({"size": 2}, "--size"),
        ({"labels_from": "ferplus"}, "--ferplus"),
        ({"labels_from": "crowd"}, "crowd"),
    ],
)
def test_wrong_settings(forms, workspace, settings, word):
    refused(workspace, forms.tree(forms.emotion_folders(5)), word, **settings)


def test_group_by_where_the_source_has_its_splits(forms, workspace):
    refused(workspace, csv_file(forms, rows_of(forms)), "--group-by", group_by=".")
