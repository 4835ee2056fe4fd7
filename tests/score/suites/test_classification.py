import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import matthews_corrcoef

from fertool.prepare.ferplus import ANSWERS
from fertool.runtime.files import read_csv, write_csv
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.classification import (
    classification_figures,
    classification_tables,
    crowd_labels_of,
    score_classification,
)
from fertool.workspace import Workspace

TWINS = ("without_twins_in_train", "with_twins_in_train")
codes = arrays.arrays(np.int64, 30, elements=st.integers(0, 2))


def figures(predicted: np.ndarray, labels: np.ndarray, confidence: float = 0.5) -> dict:
    faces = len(labels)
    return classification_figures(
        predicted, labels, np.full(faces, confidence), np.arange(faces), ["a", "b", "c"]
    )


def test_known_answer() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 0])
    scores = figures(predicted, labels)
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["confusion"] == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert scores["per_class"]["a"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "faces": 3}
    )
    assert scores["per_class"]["b"] == pytest.approx(
        {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "faces": 2}
    )
    assert scores["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "faces": 1}
    assert scores["macro"]["f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["weighted"]["f1"] == pytest.approx((3 * 2 / 3 + 2 * 1 / 2 + 0) / 6)


def test_a_class_without_faces_does_not_count_for_the_macro_means() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1] * 5)
    perfect = figures(labels, labels)
    assert perfect["macro"] == {"precision": 1, "recall": 1, "f1": 1} and perfect["balanced_accuracy"] == 1
    assert perfect["intervals"]["macro_f1"] == [1, 1]
    predicted = np.where(np.arange(30) % 6 == 0, 2, labels)
    scores = figures(predicted, labels)
    assert scores["macro"]["recall"] == pytest.approx(scores["balanced_accuracy"]) == pytest.approx(5 / 6)
    low, high = scores["intervals"]["macro_f1"]
    assert low < scores["macro"]["f1"] < high
    assert scores["macro"]["f1"] == pytest.approx((0.8 + 1) / 2)


@given(codes, codes)
@example(np.zeros(30, dtype=np.int64), np.array([2, 2, 0, 0, 0, 0, 0, 2] + [1] * 22))
def test_measures_agree_with_the_confusion_matrix(predicted: np.ndarray, labels: np.ndarray) -> None:
    scores = figures(predicted, labels)
    matrix = np.array(scores["confusion"])
    assert matrix.sum() == 30
    assert scores["accuracy"] == pytest.approx(np.trace(matrix) / 30)
    assert scores["weighted"]["recall"] == pytest.approx(scores["accuracy"])
    assert scores["macro"]["recall"] == pytest.approx(scores["balanced_accuracy"])
    if len(set(labels)) > 1:
        assert scores["mcc"] == pytest.approx(matthews_corrcoef(labels, predicted))
        assert scores["balanced_accuracy"] == pytest.approx(
            np.mean([scores["per_class"]["abc"[code]]["recall"] for code in set(labels)])
        )
    for code, name in enumerate("abc"):
        assert scores["per_class"][name]["recall"] * max(matrix[code].sum(), 1) == pytest.approx(
            matrix[code, code]
        )


def test_calibration_error_is_the_gap_between_confidence_and_hits() -> None:
    labels = np.zeros(100, dtype=np.int64)
    predicted = np.where(np.arange(100) < 70, 0, 1)
    assert figures(predicted, labels, confidence=0.9)["ece"] == pytest.approx(0.2)
    assert figures(predicted, labels, confidence=0.7)["ece"] == pytest.approx(0, abs=1e-9)


def test_intervals_hold_their_measures_and_narrow_with_more_faces() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for faces in (100, 2500):
        labels = generator.integers(0, 3, faces)
        predicted = np.where(generator.random(faces) < 0.7, labels, generator.integers(0, 3, faces))
        scores = figures(predicted, labels, confidence=0.8)
        f1 = {"macro_f1": scores["macro"]["f1"], "weighted_f1": scores["weighted"]["f1"]}
        for name, (low, high) in scores["intervals"].items():
            assert low < f1.get(name, scores.get(name)) < high, name
        low, high = scores["intervals"]["accuracy"]
        binomial = 2 * 1.96 * np.sqrt(scores["accuracy"] * (1 - scores["accuracy"]) / faces)
        assert high - low == pytest.approx(binomial, rel=0.15)
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_twins_count_as_one_face() -> None:
    labels = np.tile(np.arange(3), 40)
    predicted = np.where(np.arange(120) % 5 < 3, labels, (labels + 1) % 3)
    alone = figures(predicted, labels)["intervals"]["accuracy"]
    doubled = classification_figures(
        np.tile(predicted, 2),
        np.tile(labels, 2),
        np.full(240, 0.5),
        np.tile(np.arange(120), 2),
        ["a", "b", "c"],
    )["intervals"]["accuracy"]
    assert doubled == pytest.approx(alone, abs=1e-6)


def test_accuracy_of_several_seeds_has_an_interval_over_images_and_seeds() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 400)
    scores, columns = [], {}
    for seed, known in enumerate((0.5, 0.6, 0.7)):
        predicted = np.where(generator.random(400) < known, labels, generator.integers(0, 3, 400))
        run = {"run": f"s{seed}", "group": "one", "split": "test", "config": {}}
        scores.append(run | figures(predicted, labels) | dict.fromkeys(TWINS))
        columns[run["run"]] = {"correct": (predicted == labels).astype(float)}
    data, (table, *_) = classification_tables(scores, columns, np.arange(400))
    joint_figures = data["joint"]["one"]
    accuracies = [run["accuracy"] for run in scores]
    low, high = joint_figures["accuracy_interval"]
    stacked = np.stack([columns[run["run"]]["correct"] for run in scores])[:, :, None]
    assert [low, high] == pytest.approx(
        np.concatenate(resample_means(stacked, np.arange(400)).interval(PROPORTION))
    )
    assert low < min(accuracies) and high > max(accuracies), "three seeds as far apart say little of a fourth"
    assert table.rows[0][1:3] == [
        "3",
        f"{100 * np.mean(accuracies):.1f} ± {100 * np.std(accuracies, ddof=1):.1f} "
        f"[{100 * low:.1f}, {100 * high:.1f}]",
    ]
    (alone, *_) = classification_tables(scores[:1], columns, np.arange(400))[1]
    assert alone.rows[0][2].startswith(f"{100 * accuracies[0]:.1f} [")


def test_the_crowds_labels_are_told_by_their_names(trained: Workspace, tmp_path: Path, accept) -> None:
    """Classes stand in the run's order, answers in the crowd's; contempt and ties are no label."""
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    rows = read_csv(workspace.faces_csv("test"))
    evaluated = EvaluatedRun(workspace, workspace.run("cnn"), "test", choose_compute("cpu", "fp32"))
    renamed = evaluated.__dict__["classes"] = [*reversed(evaluated.classes)]  # as another run might have them
    answers = ["happy"] * (len(rows) - 3) + ["contempt", "tie", "sad"]
    votes = np.zeros((len(rows), len(ANSWERS)), dtype=int)
    for row, answer in enumerate(answers):
        votes[
            row, [ANSWERS.index(name) for name in (("fear", "angry") if answer == "tie" else (answer,))]
        ] = 5
    columns = [f"votes_{answer}" for answer in ANSWERS]
    table = [[*row.values(), *row_votes] for row, row_votes in zip(rows, votes.tolist(), strict=True)]
    write_csv(workspace.faces_csv("test"), [*rows[0], *columns], table)
    accept(workspace, workspace.dataset_json, workspace.faces_csv("test"))

    crowd = np.array([renamed.index(name) if name in renamed else -1 for name in answers])
    assert np.array_equal(crowd_labels_of(evaluated), crowd)
    predicted = np.full(len(rows), renamed.index("happy"))
    evaluated.__dict__["logits"] = np.eye(len(renamed))[predicted]
    figures, _ = score_classification(evaluated)
    crowd_figures, label_figures = figures["ferplus"].values()
    assert crowd_figures["faces"] == label_figures["faces"] == len(rows) - 2
    assert crowd_figures["accuracy"] == pytest.approx((len(rows) - 3) / (len(rows) - 2))
    assert label_figures["accuracy"] == pytest.approx((evaluated.labels == predicted)[crowd >= 0].mean())


def test_accuracy_without_near_twins_stands_beside_that_without_identical_ones() -> None:
    labels = np.arange(30) % 3
    predicted = np.where(np.arange(30) < 20, labels, (labels + 1) % 3)
    near, others = figures(labels[:20], labels[:20]), figures(predicted[15:], labels[15:])
    run = {
        "run": "cnn", "group": "cnn", "split": "test", "config": {"drop_leaks": "near"}, **figures(predicted, labels),
        "without_twins_in_train": figures(predicted, labels), "with_twins_in_train": None,
        "without_near_twins_in_train": others, "with_near_twins_in_train": near,
    }  # fmt: skip
    columns = {"cnn": {"correct": (predicted == labels).astype(float)}}
    _, (overall, leak, classes) = classification_tables([run], columns, np.arange(30))
    assert overall.rows[0][overall.columns.index("no near twins in train")] == "33.3%"
    assert overall.notes == [
        "Without those that have a near twin in train, a copy with other pixels, there are 15 faces."
    ]
    assert leak.title == "the leak: the 20 faces with a near twin in train"
    assert leak.rows[0][1] == "no" and leak.rows[0][2].startswith("100.0")
    run["config"] = {"drop_leaks": True}
    _, (_, leak, _) = classification_tables([run], columns, np.arange(30))
    assert leak.rows[0][1] == "yes", "a training without identical twins had the near ones"
    _, tables = classification_tables([run], columns, np.arange(30), on_own_faces=False)
    assert [table.title for table in tables] == [overall.title, classes.title], (
        "no twin of other faces was dropped"
    )


def test_where_all_faces_have_a_twin_in_train_nothing_is_left_to_say_without_them() -> None:
    labels = np.array([0, 1, 2] * 5)
    classified = figures(labels, labels)
    run = {
        "run": "cnn", "group": "cnn", "split": "test", "config": {"drop_leaks": True}, **classified,
        "without_twins_in_train": None, "with_twins_in_train": classified,
        "ferplus": {"against the crowd's labels": None, "against the labels used, on the same faces": None},
    }  # fmt: skip
    columns = {"cnn": {"correct": np.ones(15)}}
    _, (overall, leak, classes) = classification_tables([run], columns, np.arange(15))
    assert overall.rows[0][overall.columns.index("no twins in train")] == "-"
    assert overall.notes == [
        "All faces have an identical twin in train: what is measured here, the models have seen."
    ]
    assert leak.rows[0][2:] == ["100.0 [100.0, 100.0]", "-"]
    assert "classes" in classes.title, "and no table by the crowd, who agreed on none"
