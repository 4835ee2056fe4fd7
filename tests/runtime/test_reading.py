"""Files that are cut, empty, foreign or of another shape: one line each, never a traceback."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fertool.errors import DamagedError
from fertool.runtime.files import write_csv, write_json, write_npy, write_npz, write_record
from fertool.runtime.reading import csv_column, read_csv, read_json, read_npy, read_npz

REMEDY = "run 'fertool masks --force'"
READERS = {".json": read_json, ".csv": read_csv, ".npy": read_npy, ".npz": read_npz}


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"file{suffix}"
    if suffix == ".json":
        write_json(path, {"made_from": {"revision": 1}, "name": "Zoë"})
    elif suffix == ".csv":
        write_csv(path, ["row", "label", "name"], [[0, 1, "Zoë"], [1, 0, "b"], [2, 0, "c"]])
    elif suffix == ".npy":
        write_npy(path, np.arange(60, dtype=np.float32).reshape(5, 3, 4))
    else:
        write_npz(path, points=np.arange(60.0).reshape(5, 12), box=np.zeros((5, 4)))
    return path


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


DAMAGES = {
    "empty": lambda content: b"",
    "cut": cut,
    "cut to four bytes": lambda content: content[:4],
    "a text": lambda content: b"\xff\xfe hello",
    "a pickle": lambda content: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94.",
    "a JSON list": lambda content: b"[1, 2]",
    "deeply nested JSON": lambda content: b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, damage: str) -> None:
    path = written(tmp_path, suffix)
    whole = READERS[suffix](path, REMEDY)
    assert len(whole) > 0
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    columns = {"columns": ["label"]} if suffix == ".csv" else {}
    with pytest.raises(DamagedError) as error:
        READERS[suffix](path, REMEDY, **columns)
    assert str(error.value).startswith(f"{path}: ") and str(error.value).endswith(f"; {REMEDY}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DamagedError, match="no such file; run 'fertool masks --force'"):
        READERS[suffix](tmp_path / f"none{suffix}", REMEDY)
    with pytest.raises(DamagedError, match="not a file"):
        READERS[suffix](tmp_path, REMEDY)


def test_any_flipped_byte_of_an_npz_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, ".npz")
    content, whole = path.read_bytes(), read_npz(path, REMEDY)
    changed = []
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 0x55
        path.write_bytes(flipped)
        try:
            arrays = read_npz(path, REMEDY, ["points", "box"])
        except DamagedError:
            continue
        if not all(np.array_equal(arrays[name], whole[name]) for name in whole):
            changed.append(place)
    assert changed == []


def test_arrays_of_another_shape_or_kind(tmp_path: Path) -> None:
    path = written(tmp_path, ".npy")
    assert read_npy(path, REMEDY, shape=(None, 3, 4)).shape == (5, 3, 4)
    with pytest.raises(DamagedError, match=r"shape \(5, 3, 4\) where \(6, any, any\) belongs"):
        read_npy(path, REMEDY, shape=(6, None, None))
    with pytest.raises(DamagedError, match="float32"):
        read_npy(path, REMEDY, kinds="u")
    write_npz(path, points=np.zeros(3))
    with pytest.raises(DamagedError, match=r"not an \.npy file"):
        read_npy(path, REMEDY)
    path = written(tmp_path, ".npz")
    assert list(read_npz(path, REMEDY, ["box"], rows=5)) == ["box"]
    with pytest.raises(DamagedError, match="holds no array 'outline'"):
        read_npz(path, REMEDY, ["outline"])
    with pytest.raises(DamagedError, match="box: shape"):
        read_npz(path, REMEDY, ["box"], rows=6)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "file.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedError):
        read_npy(path, REMEDY)
    np.savez(tmp_path / "file.npz", a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DamagedError):
        read_npz(tmp_path / "file.npz", REMEDY)


def test_tables_of_another_shape(tmp_path: Path) -> None:
    path = written(tmp_path, ".csv")
    rows = read_csv(path, REMEDY, ["label"], rows=3)
    assert csv_column(path, rows, "label", int) == [1, 0, 0]
    with pytest.raises(DamagedError, match="3 rows where 4 belong"):
        read_csv(path, REMEDY, rows=4)
    with pytest.raises(DamagedError, match="has no column 'twin_group'"):
        read_csv(path, REMEDY, ["twin_group"])
    with pytest.raises(DamagedError, match="line 2: name is 'Zoë', which cannot be read"):
        csv_column(path, rows, "name", int)
    path.write_text("row,label\n0,1\n1\n")
    with pytest.raises(DamagedError, match="line 3 has not 2 values"):
        read_csv(path, REMEDY)


def test_json_that_lacks_keys_and_nan(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"a": float("nan")}))
    assert read_json(path, REMEDY, {"a": object}) == {"a": None}
    with pytest.raises(DamagedError, match="has no 'made_from'"):
        read_json(path, REMEDY, {"made_from": dict})


@pytest.mark.parametrize(
    ("value", "kind", "belongs"),
    [
        (["happy", "sad"], list[str], True),
        ([], list[str], True),
        (["happy", True], list[str], False),
        ({"happy": 1}, list[str], False),
        ("happy", list[str], False),
        ({}, dict, True),
        (None, dict, False),
        ([12, 12], list[int], True),
        ([12, True], list[int], False),
        (3, int, True),
        (True, int, False),
        ("3", int, False),
    ],
)
def test_a_key_that_holds_something_else_is_refused(
    tmp_path: Path, value: object, kind: object, belongs: bool
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"key": value}))
    if belongs:
        assert read_json(path, REMEDY, {"key": kind}) == {"key": value}
    else:
        with pytest.raises(DamagedError, match="'key' is not what belongs there; "):
            read_json(path, REMEDY, {"key": kind})


def test_a_member_of_an_npz_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("points.npy", b"not what an array begins with")
    with pytest.raises(DamagedError, match="points: not an array"):
        read_npz(path, REMEDY)


@settings(max_examples=30)
@given(data=st.data())
def test_a_record_whose_bytes_changed_is_refused(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    path = tmp_path_factory.mktemp("record") / "run.json"
    content = {"name": "喜", "faces": {"a": 1.5}, "last": [True, None]}
    write_record(path, content)
    assert read_json(path) == content
    right = path.read_bytes()
    place = data.draw(st.integers(0, len(right) - 1))
    changed = right[:place] + bytes([right[place] ^ data.draw(st.integers(1, 255))]) + right[place + 1 :]
    path.write_bytes(changed)
    try:
        found = read_json(path)
    except DamagedError:
        return
    # the damage hit the name of the hash, and nothing else
    assert {name: found[name] for name in content} == content and len(found) == len(content) + 1
