"""Rows that several seeds share: the mean of the seeds' figures, with an interval over images and seeds."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fertool.explain.registry import stored_request
from fertool.masks.regions import REGIONS
from fertool.score import ScoreSettings
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.corruptions import CORRUPTIONS, SEVERITIES
from fertool.score.results.seed_rows import rows_of_seeds, seed_cells
from fertool.score.results.tables import groups
from fertool.score.statistics.scales import CORRELATION, PROPORTION, UNBOUNDED
from fertool.score.suites.causal import cause_column, weights_over_seeds
from fertool.score.suites.causal_agreement import agreement_over_seeds
from fertool.score.suites.faithfulness import MEASURES, faithfulness_over_seeds
from fertool.score.suites.representation import probes_over_seeds
from fertool.score.suites.robustness import robustness_over_seeds
from fertool.score.suites.robustness_attention import moved_over_seeds
from fertool.score.suites.sanity import sanity_over_seeds
from fertool.score.suites.suite import Results
from fertool.summary import Table


def runs(*names: str) -> list[dict[str, Any]]:
    return [{"run": name, "group": name.partition("-")[0]} for name in names]


def test_seeds_that_agree_have_the_interval_of_the_images_alone() -> None:
    right = (np.random.default_rng(0).random(400) < 0.7).astype(float)
    one, several = groups(runs("one", "several-s0", "several-s1", "several-s2"))
    columns = {name: {"right": right} for name in ("one", "several-s0", "several-s1", "several-s2")}
    cells = [
        seed_cells(row, columns, [lambda values: values["right"]], np.arange(400), PROPORTION)
        for row in (one, several)
    ]
    (cell,) = cells[0]
    value, low, high = (
        float(number) for number in cell.replace("[", "").replace("]", "").replace(",", "").split()
    )
    assert value == pytest.approx(100 * right.mean(), abs=0.05)
    # a proportion's 95% interval (normal approximation)
    margin = 100 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert (high - low) / 2 == pytest.approx(margin, rel=0.05)
    assert cells[0] == cells[1]


def test_seeds_that_differ_widen_the_interval_and_stay_in_range() -> None:
    (row,) = groups(runs("cnn-s0", "cnn-s1"))
    columns = {"cnn-s0": {"share": np.full(50, 0.02)}, "cnn-s1": {"share": np.full(50, 0.1)}}
    (cell,) = seed_cells(row, columns, [lambda values: values["share"]], np.arange(50), PROPORTION)
    assert cell.startswith("6.0 [0.") and "-" not in cell
    (unbounded,) = seed_cells(row, columns, [lambda values: values["share"]], np.arange(50), UNBOUNDED)
    assert unbounded.startswith("6.0 [-")
    (correlation,) = seed_cells(row, columns, [lambda values: values["share"]], np.arange(50), CORRELATION)
    assert correlation.startswith("0.06 [")


def test_faces_that_do_not_count_for_a_seed_are_left_out_of_it() -> None:
    (row,) = groups(runs("cnn-s0", "cnn-s1"))
    columns = {"cnn-s0": {"x": np.array([0.2, np.nan, 0.4])}, "cnn-s1": {"x": np.array([np.nan, 0.5, 0.5])}}
    (cell,) = seed_cells(row, columns, [lambda values: values["x"]], np.arange(3), PROPORTION)
    assert cell.startswith("40.0")
    columns["cnn-s1"]["x"][:] = np.nan
    assert seed_cells(row, columns, [lambda values: values["x"]], np.arange(3), PROPORTION) == ["-"]


def test_rows_of_one_run_each_need_no_table() -> None:
    assert rows_of_seeds(runs("a", "b")) == []
    assert [row.seeds for row in rows_of_seeds(runs("a-s0", "a-s1", "b"))] == ["2", "1"]


FACES = 40


def results(columns: list[str], highest: int = 1, **figures: Any) -> tuple[Results, dict[str, np.ndarray]]:
    """Two seeds of `cnn` with these figures and random values of these columns, and the columns' means."""
    rng = np.random.default_rng(0)
    scores = [run | {"split": "test"} | figures for run in runs("cnn-s0", "cnn-s1")]
    values = {
        run["run"]: {name: rng.integers(0, highest + 1, FACES).astype(float) for name in columns}
        for run in scores
    }
    evaluated = cast("list[EvaluatedRun]", 2 * [SimpleNamespace(clusters=np.arange(FACES))])
    means = {name: np.mean([own[name] for own in values.values()]) / highest for name in columns}
    return Results(evaluated, scores, values, ScoreSettings(stored_request("gradcam"))), means


def figures_of(table: Table, row: int = 0) -> dict[str, float]:
    """The figures of a row by their columns, without intervals."""
    assert all(len(cells) == len(table.columns) for cells in table.rows)
    assert "over seeds" in table.title
    cells = dict(zip(table.columns, table.rows[row], strict=True))
    assert cells["seeds"] == "2"
    return {name: float(cell.partition(" ")[0]) for name, cell in cells.items() if "[" in cell}


def test_accuracy_under_corruption_over_seeds() -> None:
    found, means = results([f"right_{name}" for name in CORRUPTIONS], SEVERITIES, clean_accuracy=0.5)
    (table,) = robustness_over_seeds(found)
    expected = {name: 100 * means[f"right_{name}"] for name in CORRUPTIONS}
    assert figures_of(table) == pytest.approx(expected, abs=0.051)
    assert table.rows[0][2] == "50.0% ± 0.0"


def test_faithfulness_over_seeds_has_the_nulls_that_all_seeds_have() -> None:
    names = [f"{measure}{null}" for measure in MEASURES for null in ("", "_centre")]
    found, means = results(names, explainer="gradcam", target="label", maps={"gradcam": {}, "centre": {}})
    found.scores[0]["maps"] = {"gradcam": {}, "centre": {}, "edges": {}}
    (table,) = faithfulness_over_seeds(found)
    assert [row[2] for row in table.rows] == ["gradcam", "centre"]
    for row, null in enumerate(("", "_centre")):
        expected = {title: 100 * means[f"{measure}{null}"] for measure, title in MEASURES.items()}
        assert figures_of(table, row) == pytest.approx(expected, abs=0.051)


def test_heat_that_moves_over_seeds() -> None:
    corruptions = {"blur": {}, "noise": {}}
    found, means = results(
        ["moved_blur", "moved_noise"], explainer="gradcam", target="label", corruptions=corruptions
    )
    (table,) = moved_over_seeds(found)
    expected = {name: 100 * means[f"moved_{name}"] for name in corruptions}
    assert figures_of(table) == pytest.approx(expected, abs=0.051)


def test_sanity_over_seeds_counts_the_seeds_whose_maps_change() -> None:
    some = {"rectified": 1, "raw": 0}
    found, means = results(["similarity"], explainer="gradcam", changes=True, faces=FACES, empty=some)
    found.scores[0]["changes"] = False
    (table,) = sanity_over_seeds(found)
    assert figures_of(table) == pytest.approx({"similarity": means["similarity"]}, abs=0.0051)
    assert table.rows[0][-1] == "1 of 2"
    found.scores[1]["empty"] = {"rectified": FACES, "raw": FACES}  # nothing to compare
    assert sanity_over_seeds(found)[0].rows[0][-1] == "0 of 2"


def test_causal_weights_over_seeds_by_the_fills_that_all_seeds_have() -> None:
    names = {
        (column, fill, region): cause_column(column, fill, region)
        for column in ("correct", "answer")
        for fill in ("mean", "blur")
        for region in REGIONS
    }
    found, means = results(list(names.values()), fills={"mean": {}, "blur": {}})
    found.scores[1]["fills"] = {"blur": {}}
    for table, column in zip(weights_over_seeds(found), ("correct", "answer"), strict=True):
        (row,) = table.rows
        assert row[2] == "blur"
        expected = {region: 100 * means[names[column, "blur", region]] for region in REGIONS}
        assert figures_of(table) == pytest.approx(expected, abs=0.051)


def test_causal_agreement_over_seeds() -> None:
    fills = {"mean": {}, "noise": {}}
    found, means = results(["told_mean", "told_noise"], explainer="gradcam", target="label", fills=fills)
    (table,) = agreement_over_seeds(found)
    assert figures_of(table) == pytest.approx({fill: means[f"told_{fill}"] for fill in fills}, abs=0.0051)


def test_probes_over_seeds_by_stages() -> None:
    names = [f"right_{when}_{stage}" for when in ("before", "after") for stage in ("early", "late")]
    stages = [{"stage": "early", "channels": 8, "cka": 0.5}, {"stage": "late", "channels": 16, "cka": None}]
    found, means = results(names, stages=stages, train_faces=100)
    found.scores[1]["stages"] = [stages[0] | {"cka": 0.7}, stages[1]]
    (table,) = probes_over_seeds(found)
    for row, when in enumerate(("before", "after")):
        expected = {
            "early (8)": 100 * means[f"right_{when}_early"],
            "late (16)": 100 * means[f"right_{when}_late"],
        }
        assert figures_of(table, row) == pytest.approx(expected, abs=0.051)
    assert table.rows[2] == ["cnn", "2", "CKA", "0.60", "-"]


@pytest.mark.parametrize(
    "over_seeds",
    [
        robustness_over_seeds,
        faithfulness_over_seeds,
        moved_over_seeds,
        sanity_over_seeds,
        probes_over_seeds,
        weights_over_seeds,
        agreement_over_seeds,
    ],
)
def test_one_seed_has_its_own_figures_only(over_seeds: Callable[[Results], list[Table]]) -> None:
    alone = replace(results([], stages=[])[0], scores=[*runs("cnn-s0")])
    alone.scores[0] |= {"stages": [], "train_faces": 100}
    assert over_seeds(alone) == []
