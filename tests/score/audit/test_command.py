"""Claims about FER2013, checked by one command."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fertool.cli import app
from fertool.prepare.emotions import EMOTIONS
from fertool.score import AuditSettings, audit_claims
from fertool.score.audit.official import COUNTS
from fertool.workspace import Workspace


def write(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def matrix(usage: str) -> np.ndarray:
    """A confusion matrix of a split: of each class a tenth is taken for the next."""
    counts = np.array(COUNTS[usage])
    wrong = counts // 10
    return np.diag(counts - wrong) + np.roll(np.diag(wrong), 1, axis=1)


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("nothing"))


def test_a_matrix_of_publictest_is_named_whatever_its_form(nothing: Workspace, tmp_path: Path) -> None:
    own = matrix("PublicTest")
    files = [
        write(tmp_path / "rows.csv", own),
        write(tmp_path / "columns.csv", own.T),
        write(tmp_path / "test.csv", matrix("PrivateTest")),
    ]
    summary = audit_claims(nothing, AuditSettings(files))
    rows, columns, test = summary.data["claims"]
    for figures in (rows, columns):
        assert figures["official_splits"] == ["PublicTest"]
        assert figures["accuracy"] == pytest.approx(np.trace(own) / 3589)
        assert figures["accuracy_interval"][0] < figures["accuracy"] < figures["accuracy_interval"][1]
    assert columns["columns_are_true_classes"] and not rows["columns_are_true_classes"]
    notes = "\n".join(summary.tables[0].notes)
    assert "rows.csv: its class counts are those of PublicTest (val), not of PrivateTest (test)" in notes
    assert "test.csv: its class counts" not in notes and test["official_splits"] == ["PrivateTest"]
    assert test["less_the_first"]["test"] == "two proportions"
    assert columns["less_the_first"]["p"] == 1


def test_predictions_are_found_among_the_faces_by_id_row_or_order(
    synthetic: Workspace, tmp_path: Path, accept
) -> None:
    path = synthetic.faces_csv("train")
    train = [{**row, "twin_group": "5" if not row["row"] or row["row"] == "0" else ""}
             for row in synthetic.load_face_rows("train")]  # fmt: skip
    write(path, [train[0], *(row.values() for row in train)])
    path_test = synthetic.faces_csv("test")
    test = synthetic.load_face_rows("test")
    for row in test[:3]:
        row["twin_group"] = "5"
    write(path_test, [test[0], *(row.values() for row in test)])
    for changed in (path, path_test):
        accept(synthetic, synthetic.dataset_json, changed)
    labels = [EMOTIONS[code] for code in synthetic.load_labels("test")]
    answers = ["sad", *labels[1:]] if labels[0] != "sad" else ["happy", *labels[1:]]
    order = np.random.default_rng(0).permutation(len(labels))
    pairs = list(zip(labels, answers, strict=True))
    files = [
        write(tmp_path / "ids.csv", [("id", "label", "predicted"),
              *((test[row]["id"] + ".jpg", *pairs[row]) for row in order)]),
        write(tmp_path / "rows.csv", [("row", "label", "predicted"), *((row, *pairs[row]) for row in order)]),
        write(tmp_path / "order.csv", [("label", "predicted"), *pairs]),
    ]  # fmt: skip
    claims = audit_claims(synthetic, AuditSettings(files)).data["claims"]
    for figures in claims:
        assert figures["without_twins_in_train"]["faces"] == len(labels) - 3
        assert figures["without_twins_in_train"]["accuracy"] == 1
        assert figures["right"] == len(labels) - 1
    assert all(figures["less_the_first"]["faces"] == len(labels) for figures in claims[1:])
    assert all(figures["less_the_first"]["p"] == 1 for figures in claims[1:])

    scrambled = write(tmp_path / "scrambled.csv", [("label", "predicted"), *(pairs[row] for row in order)])
    summary = audit_claims(synthetic, AuditSettings([scrambled]))
    assert summary.data["claims"][0]["without_twins_in_train"] is None
    assert any("are not found in" in note for note in summary.tables[0].notes)


def test_claims_on_the_same_faces_are_paired(nothing: Workspace, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 7, 400)
    first = np.where(generator.random(400) < 0.6, labels, (labels + 1) % 7)
    second = first.copy()
    second[np.flatnonzero(first != labels)[:8]] = labels[np.flatnonzero(first != labels)[:8]]
    files = [
        write(tmp_path / f"{name}.csv", [("id", "label", "predicted"),
              *zip([f"f{row}" for row in rows], labels[rows], answers[rows], strict=True)])
        for name, answers, rows in (("a", first, np.arange(400)), ("b", second, generator.permutation(400)))
    ]  # fmt: skip
    (_, figures) = audit_claims(nothing, AuditSettings(files)).data["claims"]
    difference = figures["less_the_first"]
    assert difference["test"] == "McNemar" and difference["faces"] == 400
    assert difference["p"] == pytest.approx(2 * 0.5**8)
    assert difference["difference"] == pytest.approx(8 / 400)


def test_one_table_on_the_terminal_and_one_object_as_json(nothing: Workspace, tmp_path: Path) -> None:
    claim = write(tmp_path / "c.csv", matrix("PrivateTest"))
    accuracy = np.trace(matrix("PrivateTest")) / 3589
    history = write(
        tmp_path / "h.csv", [("epoch", "val_acc", "test_acc"), (1, 0.7, 0.88), (2, 0.6, accuracy)]
    )
    common = ["score", "-w", str(nothing.root), "--audit", str(claim), "--history", str(history)]
    shown = CliRunner().invoke(app, common)
    text = " ".join(shown.stdout.split())
    assert shown.exit_code == 0 and "claims about FER2013" in text
    assert "so that the epoch was chosen on test: 2.1 points above" in text
    found = json.loads(CliRunner().invoke(app, [*common, "--json"]).stdout)
    assert found["claims"][0]["history"]["gap"] == pytest.approx(accuracy - 0.88)
    refused = CliRunner().invoke(app, ["score", "--history", str(history)])
    assert refused.exit_code == 1 and "is of no claim; give an --audit FILE" in refused.output
