"""Columns that users add to the faces' CSV change nothing else; a change of ours is still seen."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import DamagedError
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.added_columns import without_added_columns
from fertool.runtime.files import read_csv, write_csv
from fertool.workspace import Workspace

cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(rows=tables, place=st.integers(0, 4), added=cells)
def test_what_is_added_is_taken_off_again(
    rows: list[list[str]], place: int, added: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    columns = [f"c{number}" for number in range(len(rows[0]))]
    write_csv(folder / "own.csv", columns, rows)
    with_more = [[*row[:place], added, *row[place:]] for row in rows]
    write_csv(folder / "more.csv", [*columns[:place], "theirs", *columns[place:]], with_more)
    assert without_added_columns(folder / "more.csv", columns) == (folder / "own.csv").read_bytes()
    assert without_added_columns(folder / "own.csv", columns) is None
    assert without_added_columns(folder / "more.csv", [*columns, "missing"]) is None


def rewritten(path: Path, change) -> None:
    rows = [change(number, dict(row)) for number, row in enumerate(read_csv(path))]
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\r\n")  # as a spreadsheet writes it
        writer.writeheader()
        writer.writerows(rows)


def test_a_workspace_with_added_columns_is_as_it_was(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    prepare(workspace, "synthetic", PrepareSettings(count=70))
    path, labels = workspace.faces_csv("test"), workspace.load_labels("test")
    before = workspace.fingerprint(path)
    rewritten(path, lambda number, row: {"age": str(number), **row, "site": "a, b"})
    assert workspace.fingerprint(path) == before
    assert (workspace.load_labels("test") == labels).all()
    assert workspace.load_face_rows("test", ["age", "site"])[2]["site"] == "a, b"

    rewritten(path, lambda number, row: row | {"label": str((int(row["label"]) + 1) % 7)})
    with pytest.raises(DamagedError, match=r"test\.csv: not the file that dataset\.json describes"):
        workspace.load_labels("test")
