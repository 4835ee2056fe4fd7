from pathlib import Path

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.prepare.emotions import EMOTIONS
from fertool.score.audit.claims import read_claim
from fertool.score.audit.history import read_history
from fertool.score.audit.official import COUNTS, match_counts

PUBLIC, PRIVATE = (np.array(COUNTS[usage]) for usage in ("PublicTest", "PrivateTest"))


def test_counts_of_the_official_splits_are_the_challenges() -> None:
    assert {usage: sum(counts) for usage, counts in COUNTS.items()} == {
        "Training": 28709,
        "PublicTest": 3589,
        "PrivateTest": 3589,
    }


@pytest.mark.parametrize(
    ("counts", "usages"),
    [
        ([467, 56, 496, 895, 653, 415, 607], ("PublicTest",)),
        ([491, 55, 528, 879, 594, 416, 626], ("PrivateTest",)),
        ((PUBLIC + PRIVATE).tolist(), ("PublicTest", "PrivateTest")),
        ([4953, 547, 5121, 8989, 6077, 4002, 6198], ("Training", "PublicTest", "PrivateTest")),
        ([100] * 7, ()),
    ],
)
def test_splits_are_told_by_their_counts(counts: list[int], usages: tuple[str, ...]) -> None:
    assert match_counts(np.array(counts), list(EMOTIONS)).usages == usages
    assert match_counts(np.array(counts), None).usages == usages
    assert match_counts(np.array([*counts, 0]), [*EMOTIONS, "contempt"]).usages == usages


def test_counts_name_rows_without_names_and_rows_with_wrong_ones() -> None:
    order = [3, 0, 6, 1, 2, 5, 4]
    names = tuple(EMOTIONS[code] for code in order)
    assert match_counts(PRIVATE[order], None).order == names
    assert match_counts(PRIVATE[order], list(names)).order is None
    assert match_counts(PRIVATE[order], list(EMOTIONS)).order == names


def test_a_split_that_lacks_some_faces_is_near_and_not_it() -> None:
    found = match_counts(PRIVATE - np.array([0, 0, 3, 0, 0, 1, 0]), list(EMOTIONS))
    assert (found.usages, found.nearest, found.apart) == ((), ("PrivateTest",), 4)


MATRIX = np.diag([3, 4]) + np.array([[0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("3,1\n2,4\n", None),
        ("Anger,joy\n3,1\n2,4\n", ["angry", "happy"]),
        (",Anger,joy\nAnger,3,1\njoy,2,4\n", ["angry", "happy"]),
        ("Anger,3,1\njoy,2,4\n", ["angry", "happy"]),
        (",0,1\n0,3,1\n1,2,4\n", None),
        ("3.0,1.0\n2.0,4.0\n", None),
    ],
)
def test_forms_of_a_confusion_matrix(tmp_path: Path, text: str, classes: list[str] | None) -> None:
    (tmp_path / "c.csv").write_text(text)
    claim = read_claim(tmp_path / "c.csv")
    assert np.array_equal(claim.confusion, MATRIX) and claim.classes == classes
    assert (claim.faces, claim.right, claim.correct) == (10, 7, None)


@pytest.mark.parametrize(
    "text",
    [
        "label,predicted\n0,0\n3,0\n3,3\n",
        "id,y_true,y_pred\na/x.jpg,anger,angry\nb,Happy,angry\nc,joy,happiness\n",
        "row,Label,correct,Predicted\n0,angry,1,0\n1,happy,0,0\n2,happy,1,3.0\n",
    ],
)
def test_forms_of_predictions(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    claim = read_claim(tmp_path / "p.csv")
    assert claim.correct is not None and claim.correct.tolist() == [True, False, True]
    assert claim.confusion[3].tolist() == [1, 0, 0, 1, 0, 0, 0] and claim.confusion[0, 0] == 1
    assert claim.ids in (None, ["x", "b", "c"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("label,predicted\n", "fewer than two rows"),
        ("label,predicted\n7,0\n", "line 2: label is '7', and codes are 0 to 6; give names of classes"),
        ("label,predicted\nhappy,\n", "line 2: no predicted"),
        ("label,predicted\n1,2,3\n", "line 2 has 3 values, and the header 2"),
        ("id,label,predicted\nx,1,2\nx.png,1,1\n", "the id 'x' stands there twice"),
        ("row,label,predicted\n-1,1,2\n", "line 2: row is '-1', no number from 0"),
        ("a,b\n1,2\n", "1 rows of 2 values; give a csv with the columns 'label' and 'predicted'"),
        ("0.9,0.1\n0.2,0.8\n", r"holds shares, not counts \(rows add up to 1, 1, ...\); give the number"),
        ("-1,2\n3,4\n", "cells that are no counts"),
        ("0,0\n0,0\n", "no faces"),
        (",anger,joy\njoy,3,1\nanger,2,4\n", "rows are happy, angry and columns angry, happy; give one"),
        ("anger,angry\n3,1\n2,4\n", "two rows are of the same class"),
    ],
)
def test_what_is_no_claim_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(UserError, match=rf"c\.csv: .*{message}") as error:
        read_claim(tmp_path / "c.csv")
    assert "\n" not in str(error.value)


def test_the_gap_of_choosing_on_test(tmp_path: Path) -> None:
    for text in (
        "epoch,val_acc,test_acc\n0,60,61\n1,64,63\n2,63.5,66.1\n",
        "epoch,train_loss,val_accuracy,test_accuracy\n0,2,0.6,0.61\n1,1,0.64,0.63\n2,1,0.635,0.661\n",
    ):
        (tmp_path / "h.csv").write_text(text)
        chosen = read_history(tmp_path / "h.csv")
        assert (chosen.epoch, chosen.best_epoch) == (1, 2)
        assert chosen.gap == pytest.approx(0.031)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epoch,val_accuracy\n1,0.5\n",
            "has no column 'test_accuracy'; give a csv with a row for each epoch",
        ),
        ("epoch,val_acc,test_acc\n", "no epochs"),
        ("epoch,val_acc,test_acc\n1,nan,2\n", "'val_acc' holds values outside 0 to 100"),
        ("epoch,val_acc,test_acc\n1,x,2\n", "line 2: val_acc is 'x', which cannot be read"),
    ],
)
def test_what_is_no_history_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_history(tmp_path / "h.csv")
