"""What a report writes beside its page, over a workspace of the commit before with all suites."""

import json
import re
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fertool.cli import app
from fertool.errors import UserError
from fertool.explain.registry import EXPLAINERS
from fertool.report import ReportSettings, list_runs, parse_labels, write_report
from fertool.report.export.references import EXPLAINER_WORKS, MODEL_WORKS, SUITE_WORKS, WORKS
from fertool.workspace import Workspace

ARCHIVE = Path(__file__).parents[2] / "workspace_before.tar.xz"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return Workspace(folder / "data")


def test_all_parts_are_written_and_are_the_same_when_written_again(workspace: Workspace) -> None:
    files = write_report(workspace).data["files"]
    assert {"index.html", "answers.md", "methods.md", "references.bib", "tables/conditions-lift.tex"} <= set(
        files
    )
    assert {
        f"figures/regions-lift-{width}.{suffix}"
        for width in ("column", "text")
        for suffix in ("svg", "pdf", "png")
    } <= set(files)
    contents = {name: workspace.report_file(name).read_bytes() for name in files}
    assert write_report(workspace).data["files"] == files
    assert {name: workspace.report_file(name).read_bytes() for name in files} == contents
    assert b"/Type3" not in contents["figures/regions-lift-column.pdf"]
    assert b"FontFile2" in contents["figures/regions-lift-column.pdf"]
    assert b"<text" not in contents["figures/regions-lift-column.svg"]


def test_a_part_alone_leaves_the_others_as_they_are(workspace: Workspace) -> None:
    write_report(workspace)
    page = workspace.report.read_bytes()
    workspace.report.write_bytes(b"mine")
    files = write_report(workspace, ReportSettings(only=["tables"])).data["files"]
    assert all(name.startswith("tables/") for name in files) and files
    assert workspace.report.read_bytes() == b"mine"
    write_report(workspace, ReportSettings(only=["page"]))
    assert workspace.report.read_bytes() == page


def test_files_of_an_earlier_report_go_and_others_stay(workspace: Workspace) -> None:
    write_report(workspace, ReportSettings(only=["tables"]))
    stale, mine = workspace.report_file("tables/stale.csv"), workspace.report_file("tables/mine.csv")
    stale.write_text("x"), mine.write_text("x")
    listed = workspace.report_file("files.json")
    names = json.loads(listed.read_text())["files"]
    listed.write_text(json.dumps({"files": [*names, "tables/stale.csv", "../../dataset.json"]}))
    write_report(workspace, ReportSettings(only=["tables"]))
    assert not stale.exists() and mine.exists() and workspace.dataset_json.exists()


def test_labels_name_the_rows_and_order_is_kept(workspace: Workspace) -> None:
    names = [run.name for run in workspace.runs()]
    labels = parse_labels([f"{names[0]}=Base & <i>line</i>"])
    write_report(workspace, ReportSettings(runs=names[::-1], labels=labels, only=["page", "tables"]))
    assert "Base &amp; &lt;i&gt;line" in workspace.report.read_text()
    assert "Base \\& \\textless{}i" in workspace.report_file("tables/conditions-lift.tex").read_text()
    with pytest.raises(UserError, match="no such run in this report"):
        write_report(workspace, ReportSettings(labels={"nobody": "x"}))
    with pytest.raises(UserError, match="must be RUN=LABEL"):
        parse_labels(["x"])
    with pytest.raises(UserError, match="--only pages: no such part; there are page, tables, figures"):
        ReportSettings(only=["pages"])


def test_works_are_of_what_was_run(workspace: Workspace) -> None:
    write_report(workspace, ReportSettings(only=["page"]))
    text = workspace.report_file("references.bib").read_text()
    keys = re.findall(r"@\w+\{(\w+),", text)
    assert "selvaraju2017gradcam" in keys and "adebayo2018sanity" in keys and len(keys) == len(set(keys))
    assert "abnar2020quantifying" not in keys and "goodfellow2013challenges" not in keys


def test_every_explainer_has_a_work_to_cite() -> None:
    assert set(EXPLAINER_WORKS) == set(EXPLAINERS)
    named = [
        key
        for table in (EXPLAINER_WORKS, SUITE_WORKS, MODEL_WORKS)
        for keys in table.values()
        for key in keys
    ]
    assert set(named) <= set(WORKS)
    for work in WORKS.values():
        assert work.bibtex.count("{") == work.bibtex.count("}")


def test_the_list_of_runs(workspace: Workspace) -> None:
    summary = list_runs(workspace)
    first = summary.data["runs"][0]
    assert first["state"] == "done" and first["epochs"] == 2 and first["explainers"] == ["gradcam"]
    assert {"classification", "causal", "truth"} <= set(first["suites"]) and first["bytes"] > 10_000
    (table,) = summary.tables
    assert table.rows[0][3] == "best 1 of 2" and table.rows[0][4].endswith("%")
    result = CliRunner().invoke(app, ["report", "--list", "--json", "--workspace", str(workspace.root)])
    assert json.loads(result.stdout)["runs"][0]["run"] == first["run"]


def test_a_damaged_run_is_listed_and_an_empty_workspace_says_so(workspace: Workspace, tmp_path) -> None:
    broken = workspace.root / "runs" / "broken" / "run.json"
    broken.parent.mkdir()
    broken.write_text("{")
    try:
        states = {run["run"]: run["state"] for run in list_runs(workspace).data["runs"]}
        assert states["broken"] == "damaged"
    finally:
        broken.unlink()
    assert "no runs yet" in list_runs(Workspace(tmp_path)).notes[0]
