import numpy as np
import pytest

from fertool.masks.regions import REGIONS
from fertool.score.evaluated_run import Columns
from fertool.score.results.tables import groups, said_of_runs, with_interval
from fertool.score.statistics.contrasts import Comparison, Contrast
from fertool.score.suites.region_share_tables import _comparison_table, attention_tables, joint_figures
from fertool.score.suites.region_shares import MEASURES, area_column, share_column


def test_what_is_the_same_of_several_runs_is_said_once() -> None:
    assert said_of_runs({"a": "all scored", "b": "none scored", "c": "all scored"}) == [
        "a, c: all scored",
        "b: none scored",
    ]
    assert said_of_runs({"a": "all scored", "b": "all scored"}) == ["each run: all scored"]
    assert said_of_runs({"a": "all scored"}) == ["a: all scored"]
    assert said_of_runs({"a": "a sample", "b": "a sample", "c": None}) == ["a, b: a sample"]


def test_of_several_seeds_it_is_said_what_a_p_is_not_of() -> None:
    contrasts = (Contrast(5, -0.036, -0.111, 0.04, 5e-5, 4.5e-4),)
    tables = {
        seeds: _comparison_table(
            "gradcam", [], [Comparison(("a", "b"), (1, seeds), 252, 1e-4, 1e-4, contrasts)]
        )
        for seeds in (1, 3)
    }
    assert not any("of other seeds" in note for note in tables[1].notes)
    assert any("of other seeds" in note for note in tables[3].notes)
    alone = "A model with one seed stands for that network alone: no other seed is in its interval."
    assert alone in tables[3].notes and alone not in tables[1].notes
    assert tables[3].rows[0][3] == "-3.60 [-11.10, +4.00]"


def columns_of(shares: np.ndarray, empty: np.ndarray) -> Columns:
    """A run's columns: faces (N, 6) with landmarks, whose maps are empty or not."""
    ones = np.ones(len(shares))
    values = np.where(empty[:, None], np.nan, shares)
    return {
        "located": ones, "empty": empty.astype(float), "predicted": 0 * ones, "label": 0 * ones,
        **{share_column(name): values[:, code] for code, name in enumerate(REGIONS)},
        **{area_column(name): ones / len(REGIONS) for name in REGIONS},
        **dict.fromkeys(MEASURES, np.where(empty, np.nan, 0.5)),
    }  # fmt: skip


def record(run: str, group: str, grid: int = 12) -> dict:
    ceiling = dict.fromkeys(REGIONS, 1.0)
    return {
        "run": run, "group": group, "grid": [grid, grid], "ceiling": ceiling, "nulls": {"centre": ceiling},
        "split": "test", "faces": 100, "left_out": {}, "overall": {}, "explainer": "gradcam", "target": "label",
        "per_class": {}, "per_predicted": {}, "right": None, "wrong": None, "jitter": None, "template_faces": None,
    }  # fmt: skip


def test_bounds_are_of_all_of_a_runs_own_maps() -> None:
    """Whatever faces another run leaves for the table, as here those where this one does not look at the mouth."""
    mouth = REGIONS.index("mouth")
    shares = np.zeros((100, len(REGIONS)))
    shares[:50, mouth], shares[50:, 0] = 1, 1
    columns = {
        "a": columns_of(shares, np.arange(100) % 10 == 0),
        "b": columns_of(shares, np.arange(100) < 50),
    }
    joint = joint_figures(groups([record("a", "a"), record("b", "b")]), columns, np.arange(100))
    assert joint["a"]["figures"]["share"]["mouth"] == 0
    assert joint["a"]["bounds"]["mouth"] == pytest.approx([0.45, 0.55])
    assert joint["b"]["bounds"]["mouth"] == pytest.approx([0, 0.5])


def test_unlike_grids_and_single_seeds_are_said() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(len(REGIONS)), 100)
    columns = dict.fromkeys(("a", "b0", "b1"), columns_of(shares, np.zeros(100, bool)))

    def notes(grid: int) -> list[list[str]]:
        runs = [record("a", "a", grid), record("b0", "b"), record("b1", "b")]
        _, tables = attention_tables(runs, columns, np.arange(100))
        shown = [table for table in tables if not table.detail]
        return [
            table.notes for table in shown if "share of each" in table.title or "differences" in table.title
        ]

    for table_notes in notes(7):
        assert any("different grids" in note and "--grid 7" in note for note in table_notes)
    shared, *differences = notes(12)
    assert not any("different grids" in note for note in [*shared, *differences[0]])
    assert "a: one seed, so the interval is over images alone." in shared
    assert any(note.startswith("b: two seeds. Two numbers tell next to nothing") for note in shared)
    assert len(differences) == 2


def test_a_grid_on_which_a_region_is_greyed_is_not_recommended() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(len(REGIONS)), 100)
    columns = dict.fromkeys(("a", "b"), columns_of(shares, np.zeros(100, bool)))

    def note(mouth_on_the_coarsest: float) -> str:
        coarse = record("a", "a", 7)
        coarse["ceiling"] = coarse["ceiling"] | {"mouth": mouth_on_the_coarsest}
        _, tables = attention_tables([coarse, record("b", "b")], columns, np.arange(100))
        (found,) = {note for table in tables for note in table.notes if "different grids" in note}
        return found

    assert "--grid 7" in note(0.5)
    assert "--grid" not in note(0.49)
    assert "7x7" in note(0.49) and note(0.49).endswith("below 50% for mouth.")


def test_the_faces_without_landmarks_are_one_table_folded_away_of_several_runs() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(len(REGIONS)), 100)
    columns = dict.fromkeys(("a", "b"), columns_of(shares, np.zeros(100, bool)))
    mix = {"faces": 40, "accuracy": 0.25, "class_mix": {"happy": 0.75, "sad": 0.25}}
    without = {"template_faces": {"left_out": mix, "rest": mix | {"faces": 60, "accuracy": None}}}
    for runs in ([record("a", "a") | without], [record("a", "a") | without, record("b", "b") | without]):
        _, tables = attention_tables(runs, columns, np.arange(100))
        (table,) = [table for table in tables if "no landmarks were found" in table.title]
        assert table.detail == (len(runs) > 1) and len(table.rows) == 2 * len(runs)
        assert table.rows[0] == ["a", "left out", "40", "25.0%", "75.0%", "25.0%"]
        assert table.rows[1][:4] == ["a", "rest", "60", "-"]


@pytest.mark.parametrize(
    ("empty", "said"), [(1, "a: 0.05% of maps are empty."), (40, "a: 2.0% of maps are empty. If each lay")]
)
def test_bounds_are_said_where_they_say_something(empty: int, said: str) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(len(REGIONS)), 2000)
    columns = {"a": columns_of(shares, np.arange(2000) < empty)}
    _, tables = attention_tables([record("a", "a")], columns, np.arange(2000))
    (note,) = [note for note in tables[0].notes if "maps are empty" in note]
    assert note.startswith(said)


def test_a_limit_of_zero_has_no_minus() -> None:
    assert with_interval(0.02, [-1e-9, 0.04]) == "2.0 [0.0, 4.0]"
    assert with_interval(-0.02, [-0.04, -1e-9]) == "-2.0 [-4.0, 0.0]"
