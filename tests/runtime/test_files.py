import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.runtime.files import read_csv, replacing, write_csv, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), replacing(target) as handle:
        handle.write(b"half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("by_torch", [False, True])
def test_a_full_disk_says_which_file(tmp_path: Path, by_torch: bool) -> None:
    target = tmp_path / "last.pt"
    with pytest.raises(OSError, match="No space left") as failure, replacing(target):
        full = io.FileIO("/dev/full", "wb")
        if by_torch:
            torch.save({"weights": torch.zeros(100_000)}, full)
        else:
            full.write(b"something")
    assert failure.value.filename == str(target)
    assert not list(tmp_path.iterdir())


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), st.integers())))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, ["text", "number"], rows)
    assert [(row["text"], int(row["number"])) for row in read_csv(path)] == rows
