import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fertool.score.classification import classification_scores

codes = arrays.arrays(np.int64, 30, elements=st.integers(0, 2))


def test_known_answer() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 0])
    scores = classification_scores(predicted, labels, ["a", "b", "c"])
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


@given(codes, codes)
def test_measures_agree_with_the_confusion_matrix(predicted: np.ndarray, labels: np.ndarray) -> None:
    scores = classification_scores(predicted, labels, ["a", "b", "c"])
    matrix = np.array(scores["confusion"])
    assert matrix.sum() == 30
    assert scores["accuracy"] == pytest.approx(np.trace(matrix) / 30)
    assert scores["weighted"]["recall"] == pytest.approx(scores["accuracy"])
    for code, name in enumerate("abc"):
        assert scores["per_class"][name]["recall"] * max(matrix[code].sum(), 1) == pytest.approx(
            matrix[code, code]
        )
