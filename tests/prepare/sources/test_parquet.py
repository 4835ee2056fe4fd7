"""Parquet as data hubs hand it out, and lists in it."""

import json
import sys
from collections import Counter

import numpy as np
import pytest

from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.sets import fer2013
from fertool.runtime.files import read_csv
from fertool.workspace import SPLITS, Workspace
from tests.prepare.refusals import assert_refused

pa = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra 'parquet'")
pq = pytest.importorskip("pyarrow.parquet")

USAGES = {"Training": 4, "PublicTest": 1, "PrivateTest": 1}
HUB = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
"""The order in which hubs store the names: another than the challenge's."""


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


def hub_table(pictures, labels, image="image", label="label", names=HUB, **columns):
    """A table with the column types of the hub: a struct of bytes and path, codes in 64 bits, names in the metadata."""
    if image == "image":
        images = pa.array(
            [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(pictures)],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
    else:
        images = pa.array(pictures, pa.binary())
    table = pa.table({image: images, label: pa.array(labels, pa.int64()), **columns})
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def challenge(forms):
    rows = forms.challenge_rows(USAGES)
    return rows, forms.faces(len(rows))


def hub_files(forms, rows, faces, files, **options):
    """A Parquet file for each of `files`: its name and its Usages."""
    for name, usages in files.items():
        chosen = [row for row, (_, usage) in enumerate(rows) if usage in usages]
        path = forms.folder / "hub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = hub_table(
            [forms.picture(faces[row]) for row in chosen],
            [HUB.index(EMOTIONS[rows[row][0]]) for row in chosen],
            **options,
        )
        pq.write_table(table, path, row_group_size=10)
    return forms.folder / "hub"


THREE = {
    "data/train-00000-of-00001.parquet": ["Training"],
    "data/publicTest-00000-of-00001.parquet": ["PublicTest"],
    "data/privateTest-00000-of-00001.parquet": ["PrivateTest"],
}


def contents(workspace):
    return {
        split: (workspace.load_faces(split).tolist(), workspace.load_labels(split).tolist())
        for split in SPLITS
    }


@pytest.mark.parametrize("options", [{}, {"image": "img_bytes", "label": "labels"}])
def test_the_same_faces_from_csv_zip_and_parquet(forms, workspace, options, monkeypatch):
    counts = {"train": 28, "val": 7, "test": 7}
    monkeypatch.setattr(fer2013, "CHALLENGE", counts)
    rows, faces = challenge(forms)
    csv = forms.folder / "fer2013.csv"
    csv.write_text(forms.csv_text(faces, rows))
    sources = [
        csv,
        forms.zip(forms.fer2013_folders(faces, rows)),
        hub_files(forms, rows, faces, THREE, **options),
    ]
    found = []
    for number, source in enumerate(sources):
        place = Workspace(workspace.root / str(number))
        summary = prepare(place, source)
        assert {split: each["count"] for split, each in summary.data["splits"].items()} == counts
        found.append(contents(place))
    assert found[0] == found[1] == found[2]
    assert summary.data["name"] == "FER2013" and "names stored in it" in "\n".join(summary.notes)


def test_a_test_of_both_parts_is_said(forms, workspace, monkeypatch):
    monkeypatch.setattr(fer2013, "JOINED", {"train": 28, "test": 14})
    rows, faces = challenge(forms)
    files = {"train-0.parquet": ["Training"], "test-0.parquet": ["PublicTest", "PrivateTest"]}
    summary = prepare(workspace, hub_files(forms, rows, faces, files))
    assert "PublicTest and PrivateTest together" in "\n".join(summary.notes)
    assert [each["count"] for each in summary.data["splits"].values()] == [21, 7, 14]


@pytest.mark.parametrize("form", ["file", "zip", "folders"])
def test_parquet_in_other_places(forms, workspace, form):
    rows, faces = challenge(forms)
    if form == "file":
        source = hub_files(forms, rows, faces, {"faces.parquet": list(USAGES)}) / "faces.parquet"
    else:
        names = {
            f"default/{name}/0000.parquet": [usage]
            for name, usage in zip(("train", "validation", "test"), USAGES, strict=True)
        }
        source = hub_files(forms, rows, faces, names)
        if form == "zip":
            source = forms.zip({name: (source / name).read_bytes() for name in names})
    summary = prepare(workspace, source)
    assert sum(each["count"] for each in summary.data["splits"].values()) == len(rows)
    assert ("splits: the source" in "\n".join(summary.notes)) == (form != "file")


def test_columns_of_a_hub_are_kept(forms, workspace):
    rows, faces = challenge(forms)
    columns = {
        "age": pa.array(range(len(rows))),
        "subject": pa.array([f"p{row}" for row in range(len(rows))]),
        "left": pa.array([4] * len(rows)), "top": pa.array([4.0] * len(rows)),
        "right": pa.array([44] * len(rows)), "bottom": pa.array([44] * len(rows)),
        "hand": pa.array([None, "x"] * (len(rows) // 2)),
    }  # fmt: skip
    source = hub_files(forms, rows, faces, {"all.parquet": list(USAGES)}, **columns)
    prepare(workspace, source, PrepareSettings(keep=("hand",), size=40))
    table = [(split, row) for split in SPLITS for row in read_csv(workspace.faces_csv(split))]
    for split, row in table:
        number = int(row["source"].partition("#")[2]) - 1
        assert (row["age"], row["person"], row["hand"]) == (
            str(number),
            f"p{number}",
            ("", "x")[number % 2],
        )
        face = workspace.load_faces(split)[int(row["row"])]
        np.testing.assert_array_equal(face, faces[number][4:44, 4:44])


def test_a_list_in_parquet(forms, workspace):
    source = forms.tree({f"{number}.png": forms.picture(face) for number, face in enumerate(forms.faces(12))})
    table = pa.table({
        "file_name": [f"{number}.png" for number in range(12)],
        "emotion": ["Happiness", "sad"] * 6,
        "split": [("train", "validation", "test")[number // 2 % 3] for number in range(12)],
    })  # fmt: skip
    pq.write_table(table, forms.folder / "list.parquet")
    summary = prepare(workspace, source, PrepareSettings(list_file=forms.folder / "list.parquet"))
    assert summary.data["classes"] == ["happy", "sad"] and "a list, list.parquet" in summary.notes[0]
    assert Counter(len(workspace.load_labels(split)) for split in SPLITS) == {4: 3}


# --- what is wrong with one -------------------------------------------------------------------------------


def one_file(forms, table, name="faces.parquet"):
    pq.write_table(table, forms.folder / name)
    return forms.folder / name


def test_columns_that_are_no_pictures_or_labels(forms, workspace):
    picture = forms.picture(forms.faces(1)[0])
    table = hub_table([picture] * 6, [0, 1] * 3)
    assert_refused(
        workspace, one_file(forms, table.rename_columns(["image", "text"])), "no column for the label", "text"
    )
    assert_refused(
        workspace, one_file(forms, table.rename_columns(["blob", "label"])), "no column for the path", "blob"
    )
    paths = pa.table({"image": ["a.png", "b.png"], "label": ["sad", "happy"]})
    assert_refused(workspace, one_file(forms, paths), "holds no pictures", "--list")
    assert_refused(
        workspace, forms.tree({"1.png": picture}), "holds pictures", list_file=one_file(forms, table)
    )


def test_codes_without_names_are_asked_for(forms, workspace):
    picture = forms.picture(forms.faces(1)[0])
    bare = hub_table([picture] * 6, [0, 6] * 3).replace_schema_metadata({})
    assert_refused(workspace, one_file(forms, bare), "row 1", "is a number", "--label-map")
    unknown = hub_table([picture] * 6, [0, 1, 7] * 2)
    assert_refused(workspace, one_file(forms, unknown), "row 3", "label '7'", "4 neutral")


def test_files_that_store_other_names_are_refused(forms, workspace):
    picture = forms.picture(forms.faces(1)[0])
    (forms.folder / "data").mkdir()
    one_file(forms, hub_table([picture] * 6, [0, 1] * 3), "data/test-0.parquet")
    one_file(forms, hub_table([picture] * 6, [0, 1] * 3, names=list(EMOTIONS)), "data/train-0.parquet")
    assert_refused(
        workspace, forms.folder / "data", "train-0.parquet", "other names of classes", "test-0.parquet"
    )


def test_a_row_without_a_whole_picture_is_named(forms, workspace):
    picture = forms.picture(forms.faces(1)[0])
    assert_refused(
        workspace, one_file(forms, hub_table([picture, None] * 6, [0, 1] * 6)), "row 2", "holds no picture"
    )
    assert_refused(
        workspace, one_file(forms, hub_table([picture, b"x"] * 6, [0, 1] * 6)), "row 2", "truncated"
    )


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_damaged_file_is_named(forms, workspace, share):
    path = one_file(forms, hub_table([forms.picture(face) for face in forms.faces(20)], [0, 1] * 10))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(workspace, path, "faces.parquet", "not a whole Parquet file")


def test_a_damaged_page_is_named(forms, workspace):
    path = one_file(forms, hub_table([forms.picture(face) for face in forms.faces(20)], [0, 1] * 10))
    data = bytearray(path.read_bytes())
    data[8:400] = bytes(392)
    path.write_bytes(data)
    assert_refused(workspace, path, "faces.parquet")


def test_a_file_that_unpacks_to_too_much_is_refused(forms, workspace, monkeypatch):
    monkeypatch.setattr("fertool.prepare.sources.limits.FREE_UNPACKED_BYTES", 1000)
    path = forms.folder / "faces.parquet"
    pq.write_table(hub_table([bytes(2**20)] * 8, [0, 1] * 4), path, compression="zstd")
    assert_refused(workspace, path, "faces.parquet", "unpacks to over")


def test_without_pyarrow_it_names_the_extra(forms, workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = forms.folder / "faces.parquet"
    path.write_bytes(b"PAR1")
    assert_refused(workspace, path, "extra 'parquet'", "pip install pyarrow")
