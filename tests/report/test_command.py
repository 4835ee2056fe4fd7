import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.report import ReportSettings, list_runs, write_report
from fertool.runtime.files import write_json
from fertool.runtime.reading import read_json
from fertool.score import ScoreSettings, score
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.train.command import train
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace
from fertool.workspace_check import check_workspace

PAGE = ReportSettings(only=["page"])  # figures for a paper take most of a report's time


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "xlink:href") and value
        ]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "img", "input", "br"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_the_figures_and_needs_no_other_file(trained: Workspace, tmp_path) -> None:
    trained = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))  # whatever else is stored there
    for folder in trained.root.glob("runs/*/scores"):
        shutil.rmtree(folder)
    scores = score(trained, device="cpu").data
    write_report(trained, PAGE)
    text = trained.report.read_text()
    page = Page(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert (
        "link" not in page.tags and page.tags.count("script") == 2
    )  # its behaviour, and the gallery's figures
    assert "Guidance" not in page.text
    assert "confusion matrix" in page.text and "Training" in page.text and page.tags.count("img") > 7
    accuracy = scores["classification"][0]["accuracy"]
    assert f"{100 * accuracy:.1f} [" in text
    overall = scores["attention"][0]["overall"]
    for region, share in overall["share"].items():
        low, high = overall["share_interval"][region]
        assert f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in text, region


def guided_copies(workspace: Workspace, run: Run) -> list[str]:
    """The run again as a sweep: guidance is said to have halved the background share, and nothing else."""
    for weight in (0.0, 1.0):
        copy = workspace.run(f"g{weight:g}")
        shutil.copytree(run.folder, copy.folder)
        record = run.config() | {"name": copy.name, "condition": copy.name}
        record["config"] |= {"guide": "background", "guide_map": "relu", "guide_weight": weight}
        write_json(copy.run_json, record)
        scores_json = copy.scores("attention", "test", "gradcam", "predicted")
        scores_csv = scores_json.with_suffix(".csv")
        columns = read_columns(scores_csv)
        columns["share_background"] *= 0.5 if weight else 1
        write_columns(scores_csv, columns)
        products = workspace.products(scores_json, [scores_csv])
        write_json(scores_json, read_json(scores_json) | {"products": products})
    return ["g0", "g1"]


def test_a_split_is_scored_and_told_by_itself(trained: Workspace, tmp_path) -> None:
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    test_scores, val_scores = (
        score(workspace, ScoreSettings(split=split), device="cpu").data for split in ("test", "val")
    )
    labels = workspace.load_labels("val")
    with np.load(workspace.run("cnn").predictions("val")) as stored:
        right = stored["logits"].argmax(axis=1) == labels
    (classes,), (attention,) = val_scores["classification"], val_scores["attention"]
    assert classes["faces"] == attention["faces"] == len(labels)
    assert classes["accuracy"] == pytest.approx(right.mean())
    assert attention["overall"]["share"] != test_scores["attention"][0]["overall"]["share"]
    write_report(workspace, ReportSettings(split="val", only=["page"]))
    text = Page(workspace.report.read_text()).text
    assert f"{100 * right.mean():.1f} [" in text and "on val" in text and "on test" not in text


def test_a_stored_sweep_has_a_section_of_guidance(trained: Workspace, tmp_path) -> None:
    score(trained, device="cpu")
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    write_report(
        workspace, ReportSettings(runs=guided_copies(workspace, workspace.run("cnn")), only=["page"])
    )
    page = Page(workspace.report.read_text())
    assert (
        "Guidance" in page.text and "lambda 1: The map moved; whether the model did is not known" in page.text
    )
    assert "Background share, points, fell: gradcam, which guided, -" in page.text
    assert "Accuracy: no difference shown, +0.0 [+0.0, +0.0] points." in page.text
    assert "guidance on test, cnn, " in page.text and "share, gradcam" in page.text
    assert "Lift of the regions over lambda, a row an explainer" in page.text
    assert page.open == []


def test_pictures_are_of_the_first_seed_of_each_condition(trained: Workspace, tmp_path) -> None:
    score(trained, device="cpu")
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    one = workspace.run("cnn")
    for seed in (1, 2):
        other = workspace.run(f"cnn-s{seed}")
        shutil.copytree(one.folder, other.folder)
        record = one.config() | {"name": other.name}
        record["config"] |= {"seed": seed}
        write_json(other.run_json, record)
    write_report(workspace, PAGE)
    page = Page(workspace.report.read_text())
    assert "Pictures are of the first seed of each condition." in page.text
    assert "cnn, seed 0: confusion matrix" in page.text and "cnn, seed 1: confusion matrix" not in page.text
    write_report(workspace, ReportSettings(runs=["cnn-s2"], only=["page"]))
    page = Page(workspace.report.read_text())
    assert "cnn: confusion matrix" in page.text and "Pictures are of" not in page.text


def test_scoring_a_sweep_says_what_guidance_did(trained: Workspace, tmp_path) -> None:
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    assert "guidance" not in score(workspace, device="cpu").data
    summary = score(workspace, runs=guided_copies(workspace, workspace.run("cnn")), device="cpu")
    (sweep,) = summary.data["guidance"]
    (verdict,) = sweep["verdicts"]
    assert "No fall of the background share that guidance asked for is shown." in verdict["sentences"]
    assert summary.tables[-1].title.startswith("guidance on test, cnn, ")
    assert np.isclose(
        sweep["conditions"][0]["figures"]["accuracy"]["value"], summary.data["classification"][0]["accuracy"]
    )


def test_without_scores_it_says_what_to_do(synthetic: Workspace) -> None:
    with pytest.raises(UserError, match="no run is scored on 'test'; run 'fertool score' first"):
        write_report(synthetic)


def test_a_run_that_is_not_scored_is_named(trained: Workspace, tmp_path) -> None:
    score(trained, device="cpu")
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    shutil.copytree(workspace.run("cnn").folder, workspace.run("new").folder)
    shutil.rmtree(workspace.run("new").folder / "scores")
    with pytest.raises(UserError, match="run new is not scored on 'test'; run 'fertool score' first"):
        write_report(workspace, ReportSettings(runs=["cnn", "new"]))
    assert write_report(workspace, ReportSettings(only=["tables"])).data["runs"] == ["cnn"]


def test_all_tables_stand_in_the_order_of_the_runs_that_are_named(trained: Workspace, tmp_path) -> None:
    score(trained, device="cpu")
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    one = workspace.run("cnn")
    record = one.config() | {"name": "other", "condition": "other"}
    record["config"] |= {"lr": 0.5}
    shutil.copytree(one.folder, workspace.run("other").folder)
    write_json(workspace.run("other").run_json, record)
    for names in (["other", "cnn"], ["cnn", "other"]):
        labels = {"cnn": "First by name", "other": "Zealous"}
        write_report(workspace, ReportSettings(runs=names, labels=labels, only=["tables"]))
        for table in ("conditions-lift", "classification-1", "attention-gradcam-predicted-2"):
            text = workspace.report_file(f"tables/{table}.csv").read_text()
            called = [line.split(",")[0] for line in text.splitlines()[1:]]
            assert [name for name in called if name in labels.values()] == [labels[name] for name in names], (
                table
            )


def test_an_adopted_run_has_no_curve_and_is_marked_wherever_it_stands(trained: Workspace, tmp_path) -> None:
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    weights, order = workspace.run("cnn").best, tuple(workspace.dataset()["classes"])
    config = TrainConfig(weights=str(weights), epochs=0, precision="fp32", class_order=order)
    train(workspace, config, name="theirs", device="cpu")
    assert not workspace.run("theirs").history_csv.exists()
    score(workspace, ScoreSettings(suites=("classification",)), device="cpu")
    note = (
        "theirs was trained elsewhere and adopted: nothing is known of the data that it was trained on, so a leak "
        "cannot be ruled out."
    )

    write_report(workspace, ReportSettings(only=["page", "tables"]))
    page = Page(workspace.report.read_text())
    assert "Train dashed" in page.text and "Adopted runs have no curve: theirs." in page.text
    folder = workspace.report.parent
    names = {line.split(",")[0] for line in (folder / "tables/conditions-share.csv").read_text().splitlines()}
    assert "theirs (adopted)" in names and not any(
        "(adopted)" in name for name in names - {"theirs (adopted)"}
    )
    assert note in page.text and note in (folder / "methods.md").read_text()
    assert "theirs (adopted)" in (folder / "tables/classification-1.csv").read_text()
    assert note in (folder / "tables/classification-1.tex").read_text()
    assert "theirs (adopted)" in page.text and "cnn (adopted)" not in page.text

    listing = list_runs(workspace)
    (table,) = listing.tables
    epochs = {row[0]: row[table.columns.index("epochs")] for row in table.rows}
    assert epochs["theirs"] == "adopted" and epochs["cnn"].startswith("best ")
    assert listing.notes == [note]
    damaged = {row[0]: row[-1] for row in check_workspace(workspace).tables[0].rows}
    assert damaged["run theirs"] == "0"

    write_report(workspace, ReportSettings(runs=("theirs",), only=["page"]))
    page = Page(workspace.report.read_text())
    assert "Train dashed" not in page.text and note in page.text
    assert "was chosen by its accuracy on val" not in page.text
