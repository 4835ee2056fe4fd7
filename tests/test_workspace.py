import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.workspace import (
    PartialRows,
    Workspace,
    read_csv,
    replacing,
    write_csv,
    write_json,
    write_npy,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), replacing(target) as handle:
        handle.write(b"half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), st.integers())))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, ["text", "number"], rows)
    assert [(row["text"], int(row["number"])) for row in read_csv(path)] == rows


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


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = tmp_path / "faces.npy"
    write_npy(path, np.zeros(3))
    before = workspace.fingerprint(path)
    assert workspace.fingerprint(path) == before
    write_npy(path, np.ones(3))
    assert workspace.fingerprint(path) != before


def test_is_current_notices_settings_inputs_and_missing_products(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    source, product, record = tmp_path / "in.npy", tmp_path / "out.npy", tmp_path / "out.json"
    write_npy(source, np.zeros(3))
    write_npy(product, np.zeros(3))
    made_from = workspace.made_from(1, {"size": 48}, [source])
    write_json(record, {"made_from": made_from})
    assert workspace.is_current(record, made_from, [product])
    assert not workspace.is_current(record, workspace.made_from(2, {"size": 48}, [source]), [product])
    assert not workspace.is_current(record, workspace.made_from(1, {"size": 64}, [source]), [product])
    write_npy(source, np.ones(3))
    assert not workspace.is_current(record, workspace.made_from(1, {"size": 48}, [source]), [product])
    product.unlink()
    assert not workspace.is_current(record, made_from, [product])


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    run = Workspace(tmp_path).run("cnn-s0")
    with run.locked(), pytest.raises(UserError, match="another process"), run.locked():
        pass
    with run.locked():  # and is free again afterwards
        assert run.folder.is_dir()


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fertool prepare"):
        Workspace(tmp_path).dataset()
