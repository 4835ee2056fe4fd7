"""`fertool report --check`: whether every file of a workspace is whole and what its record says that was written."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fertool.errors import UserError
from fertool.runtime.progress import progress_bar
from fertool.runtime.reading import RECORD_HASH, read_csv, read_json, read_npy, read_npz
from fertool.summary import Summary, Table
from fertool.workspace import Workspace

INTACT, UNRECORDED, DAMAGED = "as recorded", "readable, no hash recorded", "damaged or missing"
READERS: dict[str, Callable[[Path, str], object]] = {
    ".json": read_json,
    ".csv": read_csv,
    ".npy": read_npy,
    ".npz": read_npz,
}


@dataclass(frozen=True)
class CheckedFile:
    """A file of the workspace and what was found."""

    path: Path
    state: str  # INTACT, UNRECORDED or DAMAGED
    reason: str = ""  # the line that says what is wrong and what to do


def check_workspace(workspace: Workspace) -> Summary:
    """Read every file of a workspace, and compare those that a record describes with their recorded size and hash.

    Bytes that changed are found even where size and time of change are as before. Raises UserError where there is no
    workspace.

    Returns:
        A table with a row for each stage or run; a second one with the damaged files, if there are any.
    """
    workspace.dataset()
    checked = list(_check(workspace))
    groups = sorted({_group(workspace, file.path) for file in checked})
    counts = Counter((_group(workspace, file.path), file.state) for file in checked)
    states = (INTACT, UNRECORDED, DAMAGED)
    tables = [
        Table(
            f"files of {workspace.root}",
            ["", *states],
            [[group, *(f"{counts[group, state]}" for state in states)] for group in groups],
        )
    ]
    damaged = [file for file in checked if file.state == DAMAGED]
    if damaged:
        tables.append(Table("damaged or missing", ["what is wrong"], [[file.reason] for file in damaged]))
    return Summary(
        data={
            "files": len(checked),
            "groups": {group: {state: counts[group, state] for state in states} for group in groups},
            "damaged": [{"path": str(file.path), "reason": file.reason} for file in damaged],
        },
        tables=tables,
        failure=f"{workspace.root}: {len(damaged)} damaged or missing files" if damaged else None,
    )


def _check(workspace: Workspace) -> Iterator[CheckedFile]:
    """Every file of the workspace, and every file that a record describes."""
    files = sorted(workspace.stored_files())
    described = _described(files)
    paths = sorted({*files, *described})
    with progress_bar("checking", len(paths), "files") as bar:
        for path in paths:
            yield _check_file(workspace, path, described.get(path))
            bar.update()


def _described(files: list[Path]) -> dict[Path, Path]:
    """For each file that a record describes, that record."""
    described: dict[Path, Path] = {}
    for record in files:
        if record.suffix != ".json":
            continue
        try:
            products = read_json(record).get("products", {})
        except UserError:  # said where the record itself is checked
            continue
        if isinstance(products, dict):
            described |= {record.parent / name: record for name in products}
    return described


def _check_file(workspace: Workspace, path: Path, record: Path | None) -> CheckedFile:
    remedy = workspace.remedy(path)
    try:
        if path.suffix in READERS:
            READERS[path.suffix](path, remedy)
        elif not path.is_file():
            return CheckedFile(path, DAMAGED, f"{path}: no such file; {remedy}")
    except UserError as error:
        return CheckedFile(path, DAMAGED, str(error))
    if record is None:
        has_own_hash = path.suffix == ".json" and RECORD_HASH.encode() in path.read_bytes()
        if path.suffix == ".json" and not has_own_hash and not read_json(path):
            return CheckedFile(path, DAMAGED, f"{path}: holds nothing, so its files have no hashes; {remedy}")
        return CheckedFile(path, INTACT if has_own_hash else UNRECORDED)
    if workspace.is_intact(record, path, cached=False):
        return CheckedFile(path, INTACT)
    return CheckedFile(path, DAMAGED, f"{path}: not the file that {record.name} describes; {remedy}")


def _group(workspace: Workspace, path: Path) -> str:
    first, *rest = path.relative_to(workspace.root).parts
    return f"run {rest[0]}" if first == "runs" and len(rest) > 1 else first
