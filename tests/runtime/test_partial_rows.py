import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fertool.runtime.partial_rows import PartialRows


def test_partial_rows_go_on_where_they_stopped(tmp_path: Path) -> None:
    target = tmp_path / "maps.npy"
    layout = {"maps": ((5, 2), "float32")}
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    PartialRows(target, layout, {"revision": 1}).append(maps=values[:3])

    second = PartialRows(target, layout, {"revision": 1})
    assert second.done == 3
    second.append(maps=values[3:])
    second.keep("maps", target)
    second.discard()
    assert np.array_equal(np.load(target), values)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npy"]


def test_partial_rows_of_other_settings_are_thrown_away(tmp_path: Path) -> None:
    layout = {"maps": ((5, 2), "float32")}
    PartialRows(tmp_path / "maps.npy", layout, {"revision": 1}).append(maps=np.ones((3, 2), np.float32))
    assert PartialRows(tmp_path / "maps.npy", layout, {"revision": 2}).done == 0


def test_partial_rows_that_a_kill_left_after_they_were_kept_begin_again(tmp_path: Path) -> None:
    layout = {"maps": ((5, 2), "float32"), "more": ((5,), "float32")}
    target = tmp_path / "maps.npy"
    killed = PartialRows(target, layout, {"revision": 1})
    killed.append(maps=np.ones((5, 2), np.float32), more=np.ones(5, np.float32))
    killed.keep("maps", target)
    again = PartialRows(target, layout, {"revision": 1})
    assert again.done == 0 and set(again.arrays) == set(layout)


@pytest.mark.parametrize("is_link", [True, False])
def test_what_stands_in_the_place_of_partial_rows_is_replaced(tmp_path: Path, is_link: bool) -> None:
    target, layout = tmp_path / "maps.npy", {"maps": ((5, 2), "float32")}
    PartialRows(tmp_path / "other.npy", layout, {}).append(maps=np.ones((3, 2), np.float32))
    other = tmp_path / "other.npy.partial"
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    place = tmp_path / "maps.npy.partial"
    if is_link:
        place.symlink_to(other, target_is_directory=True)
    else:
        place.touch()
    rows = PartialRows(target, layout, {})
    assert rows.done == 0, "rows of others are not gone on with"
    rows.append(maps=np.zeros((5, 2), np.float32))
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before
    rows.discard()
    assert other.exists() and not place.exists()


def test_a_disk_without_room_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def allocate(handle: int, start: int, count: int) -> None:
        taken.append((start, count))
        if count > 4000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", allocate, raising=False)
    layout = {"few": ((5,), "float32"), "many": ((1000,), "float32")}
    with pytest.raises(OSError, match="No space left") as caught:
        PartialRows(tmp_path / "maps.npy", layout, {})
    assert caught.value.filename.endswith("many.npy")
    assert not list(tmp_path.iterdir())
    assert [start for start, _ in taken] == [0, 0] and taken[1][1] > 4000 > taken[0][1] > 20
