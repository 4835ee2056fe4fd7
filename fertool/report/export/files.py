"""The report's files: written one by one, and those of an earlier report that this one has no more removed."""

from collections.abc import Mapping

from fertool.report.settings import ReportSettings
from fertool.runtime.files import read_json, replacing, write_json
from fertool.workspace import Workspace

LIST = "files.json"  # names the files that a report wrote


def part_of(name: str) -> str:
    """The part of the report that a file belongs to: tables, figures, else page."""
    folder = name.partition("/")[0]
    return folder if folder in ("tables", "figures") else "page"


def write_files(workspace: Workspace, files: Mapping[str, bytes], settings: ReportSettings) -> None:
    """Write files by their names below the report's folder; no file that a report did not write is touched."""
    path = workspace.report_file(LIST)
    before = read_json(path).get("files", []) if path.exists() else []
    kept = [name for name in before if not settings.writes(part_of(name))]
    for name, content in files.items():
        with replacing(workspace.report_file(name)) as handle:
            handle.write(content)
    for name in before:
        if name not in kept and name not in files and ".." not in name and not name.startswith("/"):
            workspace.report_file(name).unlink(missing_ok=True)
    write_json(path, {"files": sorted({*kept, *files})})
