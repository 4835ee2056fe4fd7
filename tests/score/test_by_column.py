import csv
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fertool.errors import UserError
from fertool.masks.regions import REGIONS
from fertool.report import ReportSettings, write_report
from fertool.report.drawings import Drawing
from fertool.report.figures.groups import groups_figure
from fertool.report.figures.style import SERIES, SOFT
from fertool.runtime.files import read_csv
from fertool.score import ScoreSettings, score
from fertool.score.by_column import differences_in_words
from fertool.score.column_request import ColumnRequest, parse_column
from fertool.score.statistics.contrasts import holm
from fertool.score.statistics.group_differences import permutation_p_values
from fertool.score.suites.causal import cause_column
from fertool.score.suites.head_pose import head_yaw_deg
from fertool.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(shutil.copytree(trained.root, tmp_path_factory.mktemp("columns") / "ws"))


@pytest.fixture
def with_columns(workspace: Workspace) -> Workspace:
    """Add columns as a user would: age 1, 2, ..., of the first face unknown; sex, f or m by turns; one, all alike."""
    rows = read_csv(workspace.faces_csv("test"))
    with workspace.faces_csv("test").open("w", newline="") as handle:
        names = [name for name in rows[0] if name not in ("age", "sex", "one")]
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([*names, "age", "sex", "one"])
        for number, row in enumerate(rows):
            writer.writerow([*(row[name] for name in names), number if number else "", "fm"[number % 2], "x"])
    return workspace


def by_column(workspace: Workspace, column: str):
    summary = score(workspace, ScoreSettings(by_column=column), device="cpu")
    return summary.data["by_column"], summary.tables


def test_groups_have_their_own_figures_and_few_faces_are_greyed(
    with_columns: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fertool.score.by_column.FEW_FACES", 20)
    data, tables = by_column(with_columns, "age=4")
    faces = len(with_columns.load_labels("test"))
    assert data["groups"] == {"below 4": 3, "4 and more": faces - 4}, "the first face has no age"
    run = with_columns.run("cnn")
    correct = np.array(
        [int(row["correct"]) for row in read_csv(run.scores("classification", "test").with_suffix(".csv"))]
    )
    accuracy = data["conditions"]["cnn"]["accuracy"]
    assert accuracy["groups"]["below 4"]["value"]["accuracy"] == pytest.approx(correct[1:4].mean())
    assert accuracy["groups"]["4 and more"]["value"]["accuracy"] == pytest.approx(correct[4:].mean())
    assert accuracy["differences"] == [], "three faces are compared with none"
    assert type(tables[-4].rows[0][0]).__name__ == "Greyed" and type(tables[-4].rows[1][0]) is str
    share = read_csv(run.scores("attention", "test", "gradcam", "predicted").with_suffix(".csv"))
    kept = [row for row in share[4:] if row["located"] == "1" and row["empty"] == "0"]
    mouth, area = (np.array([float(row[f"{kind}_mouth"]) for row in kept]) for kind in ("share", "area"))
    found = data["conditions"]["cnn"]
    assert found["share"]["groups"]["4 and more"]["value"]["mouth"] == pytest.approx(mouth.mean(), rel=1e-5)
    assert found["lift"]["groups"]["4 and more"]["value"]["mouth"] == pytest.approx(
        mouth.mean() / area.mean(), rel=1e-5
    )


WAYS = ("mean", "blur")  # of covering a region


def test_causal_weights_by_head_pose_and_brightness(with_columns: Workspace) -> None:
    """The weight of a region is the mean over ways of covering it, then over the faces of the group."""
    turned = np.abs(head_yaw_deg(with_columns.load_landmarks("test", ["landmarks"])["landmarks"]))
    bright = with_columns.load_faces("test").mean(axis=(1, 2)) / 255
    edges = {"head-pose": np.median(turned).round(1), "brightness": np.median(bright).round(2)}
    for column, values in (("head-pose", turned), ("brightness", bright)):
        settings = ScoreSettings(
            by_column=f"{column}={edges[column]}", suites=("causal",), fills=WAYS, nulls=False
        )
        data = score(with_columns, settings, device="cpu").data["by_column"]
        path = with_columns.run("cnn").scores("causal", "test").with_suffix(".csv")
        weights = np.mean(
            [[float(row[cause_column("answer", fill, "mouth")]) for row in read_csv(path)] for fill in WAYS],
            axis=0,
        )
        low, high = data["conditions"]["cnn"]["causal weight"]["groups"].values()
        below = values < edges[column]
        assert (low["faces"], high["faces"]) == (below.sum(), (~below).sum())
        assert low["value"]["mouth"] == pytest.approx(weights[below].mean(), rel=1e-4)
        assert high["value"]["mouth"] == pytest.approx(weights[~below].mean(), rel=1e-4)


def test_what_cannot_be_grouped_is_one_line(with_columns: Workspace) -> None:
    for column, said in (
        ("height", r"no such column in .*test.csv; there are .*sex.*head-pose, brightness"),
        ("one", "1 different values, and 2 to 10 make groups"),
        ("id", "different values, and 2 to 10 make groups"),
        ("sex=3", "edges are for numbers"),
        ("age=1000", "all faces fall into one group"),
    ):
        with pytest.raises(UserError, match=f"--by-column .*{said}"):
            by_column(with_columns, column)
    with pytest.raises(UserError, match="add one of them to --suite"):
        score(with_columns, ScoreSettings(by_column="sex", suites=("sanity",)), device="cpu")


def test_columns_are_written_with_edges() -> None:
    assert parse_column("age") == ColumnRequest("age")
    assert parse_column("a=b=18,60") == ColumnRequest("a=b", (18, 60))
    for text in ("age=x", "age=60,18", "=3", "age=nan"):
        with pytest.raises(UserError, match="--by-column"):
            parse_column(text)


def test_p_values_agree_with_welchs_test_and_do_not_see_what_is_not_there() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (120, 3)) + np.array([0, 0.3, 1.2]) * (np.arange(120) < 40)[:, None]
    first = np.arange(120) < 40
    p = permutation_p_values(values, np.ones_like(values), first, np.arange(120), permutations=4000)
    welch = ttest_ind(values[first], values[~first], equal_var=False).pvalue
    assert p == pytest.approx(welch, abs=0.02)
    same = permutation_p_values(np.ones((120, 1)), np.ones((120, 1)), first, np.arange(120), permutations=50)
    assert same.tolist() == [1.0]


def test_unlike_spreads_keep_the_level() -> None:
    """A small group that spreads much, a large one that does not: the plain difference of means would be wrong."""
    rng = np.random.default_rng(1)
    first = np.arange(200) < 30
    below = 0
    for _ in range(60):
        values = rng.normal(0, np.where(first, 5, 1)[:, None], (200, 1))
        p = permutation_p_values(values, np.ones((200, 1)), first, np.arange(200), permutations=199)
        below += int(p[0] <= 0.05)
    assert below <= 9


def test_holm_is_over_pairs_and_regions(with_columns: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fertool.score.by_column.FEW_FACES", 5)
    data, tables = by_column(with_columns, "age=10,20")
    assert len(tables[-1].rows) == 3 * (1 + 6 + 6), "three pairs of groups: accuracy, shares, lifts"
    found = data["conditions"]["cnn"]["share"]["differences"]
    assert [each["p_holm"] for each in found] == pytest.approx(
        holm(np.array([each["p"] for each in found])).tolist()
    )


def test_the_report_shows_the_groups_in_a_section(
    with_columns: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fertool.score.by_column.FEW_FACES", 5)
    monkeypatch.setattr("fertool.report.command.paper_figures", lambda *_: {})  # the others take seconds
    by_column(with_columns, "sex")
    write_report(with_columns, ReportSettings(only=("page", "figures"), by_column="sex"))
    page = with_columns.report.read_text()
    assert ">By sex</h2>" in page and "Faces: f: 14; m: 14 (a group for each value)" in page
    assert "by sex on test: differences between groups" in page
    assert 'role="img" aria-label="Lift of each region by sex, with 95% intervals; 1 is a map that' in page
    figures = with_columns.report.parent / "figures"
    assert (figures / "by-column-text.pdf").exists() and (figures / "by-column-column.svg").exists()
    write_report(with_columns, ReportSettings(only=("page",)))
    assert "By sex" not in with_columns.report.read_text()


def test_a_figure_shows_each_group_and_greys_those_of_few_faces() -> None:
    groups = {
        "f": {
            "faces": 40,
            "value": {name: 1.2 for name in REGIONS},
            "interval": {name: [1, 1.5] for name in REGIONS},
        },
        "m": {
            "faces": 9,
            "value": {name: 0.7 for name in REGIONS},
            "interval": {name: [None] * 2 for name in REGIONS},
        },
    }
    drawing = Drawing("", partial(groups_figure, "lift", {"f": 41, "m": 9, "x": 8}, {"a": groups, "b": {}}))
    figure = pickle.loads(pickle.dumps(drawing)).draw(7)
    first = figure.axes[0]
    assert [axes.get_title() for axes in figure.axes] == list(REGIONS)
    assert [label.get_text() for label in first.get_yticklabels()] == ["f (41)", "m (9)", "x (8)"]
    assert [label.get_color() for label in first.get_yticklabels()][1:] == [SOFT, SOFT]
    marks = [line for line in first.lines if len(line.get_xdata()) == 1]
    assert [(*line.get_xdata(), line.get_color(), line.get_markerfacecolor()) for line in marks] == [
        (1.2, SERIES[0], SERIES[0]),
        (0.7, SOFT, "none"),
    ]
    assert [list(line.get_xdata()) for line in first.lines if len(line.get_xdata()) == 2][1:] == [[1, 1.5]]


def test_the_largest_difference_that_is_shown_is_said() -> None:
    shown = {
        "groups": ["f", "m"],
        "of": "mouth",
        "difference": -0.05,
        "interval": [-0.06, -0.04],
        "p": 0,
        "p_holm": 0.01,
    }
    figures = {"share": {"groups": {}, "differences": [shown, shown | {"p_holm": 0.2, "difference": 0.9}]}}
    assert "share of mouth by -5.00 (f less m; 1 of 2 differences)" in differences_in_words(figures)
    assert differences_in_words({}).startswith("No difference")
