"""Files that a report writes beside its page, over a workspace of the commit before with all suites."""

import json
import re
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from fertool.cli import app
from fertool.errors import UserError
from fertool.explain.registry import EXPLAINERS
from fertool.report import ReportSettings, list_runs, parse_labels, write_report
from fertool.report.drawings import paper_figures
from fertool.report.export.files import part_of
from fertool.report.export.references import EXPLAINER_WORKS, MODEL_WORKS, SUITE_WORKS, WORKS
from fertool.report.settings import PARTS
from fertool.workspace import Workspace

FIGURES = ("regions-lift", "emotions")  # the others are written alike


@pytest.fixture(scope="module")
def workspace(before: Workspace) -> Iterator[Workspace]:
    """The workspace with its report, of the figures FIGURES alone, drawn in a process beside the page's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fertool.report.command.paper_figures",
            lambda evidence, rows: {name: paper_figures(evidence, rows)[name] for name in FIGURES},
        )
        patch.setattr("fertool.report.command.CONDITIONS_WORTH_A_PROCESS", 1)
        patch.setattr("fertool.report.command.usable_cores", lambda: 2)
        write_report(before)
        patch.setattr("fertool.report.command.usable_cores", lambda: 1)  # from here on, all in this process
        yield before


def contents(workspace: Workspace) -> dict[str, bytes]:
    names = json.loads(workspace.report_file("files.json").read_text())["files"]
    return {name: workspace.report_file(name).read_bytes() for name in names}


def test_all_parts_are_written(workspace: Workspace) -> None:
    files = contents(workspace)
    assert {"index.html", "answers.md", "methods.md", "references.bib", "tables/conditions-lift.tex"} <= set(
        files
    )
    assert {name for name in files if name.startswith("figures/")} == {
        f"figures/{name}-{width}.{suffix}"
        for name in FIGURES
        for width in ("column", "text")
        for suffix in ("svg", "pdf", "png")
    }
    assert b"/Type3" not in files["figures/regions-lift-column.pdf"]
    assert b"FontFile2" in files["figures/regions-lift-column.pdf"]
    assert b"<text" not in files["figures/regions-lift-column.svg"]


def test_a_part_alone_is_the_same_again_and_leaves_the_others_as_they_are(workspace: Workspace) -> None:
    before = contents(workspace)
    for part in PARTS:
        ours = {name for name in before if part_of(name) == part}
        for name in before:
            workspace.report_file(name).write_bytes(b"mine")
        assert set(write_report(workspace, ReportSettings(only=[part])).data["files"]) == ours
        assert contents(workspace) == {
            name: content if name in ours else b"mine" for name, content in before.items()
        }
    for name, content in before.items():
        workspace.report_file(name).write_bytes(content)


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
    write_report(workspace, ReportSettings(runs=names[::-1], labels=labels, only=["tables"]))
    assert "Base \\& \\textless{}i" in workspace.report_file("tables/conditions-lift.tex").read_text()
    with pytest.raises(UserError, match="no such run in this report"):
        write_report(workspace, ReportSettings(labels={"nobody": "x"}))
    with pytest.raises(UserError, match="must be RUN=LABEL"):
        parse_labels(["x"])
    with pytest.raises(UserError, match="--only pages: no such part; there are page, tables, figures"):
        ReportSettings(only=["pages"])


def test_works_are_of_what_was_run(workspace: Workspace) -> None:
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
