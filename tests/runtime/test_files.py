import io
import json
import subprocess
import sys
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


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "file[1].json"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom fertool.runtime.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as handle:\n    handle.write(b'half')\n    handle.flush()\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(target)])
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".file[1].json.") and left.read_bytes() == b"half"
    with replacing(target) as handle:
        assert not left.exists()
        handle.write(b"slow")
        write_json(target, {"quick": 1})
        assert json.loads(target.read_text()) == {"quick": 1}
    assert target.read_bytes() == b"slow"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "file.json"
    outside.write_text("of the user's")
    target.symlink_to(outside)
    write_json(target, {"a": 1})
    assert outside.read_text() == "of the user's" and not target.is_symlink()


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), st.integers())))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, ["text", "number"], rows)
    assert [(row["text"], int(row["number"])) for row in read_csv(path)] == rows
