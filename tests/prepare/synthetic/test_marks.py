import numpy as np
import pytest

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.synthetic.marks import draw_marks, mark_codes
from fertool.workspace import Workspace


def agreement_of(workspace: Workspace, split: str) -> float:
    """The share of marks whose texture is that of the label, told from the pixels."""
    faces, labels = workspace.load_faces(split), workspace.load_labels(split)
    with np.load(workspace.truth(split)) as truth:
        marks = truth["mark"]
    blank = np.zeros((7, 48, 48), dtype=np.uint8)
    textures, _, places = draw_marks(blank, blank, np.arange(7), np.arange(7), seed=0)
    known = [texture[place] for texture, place in zip(textures, places, strict=True)]
    codes = [
        next(code for code in range(7) if np.array_equal(face[mark], known[code]))
        for face, mark in zip(faces, marks, strict=True)
    ]
    return float(np.mean(np.array(codes) == labels))


def test_a_spurious_mark_agrees_in_train_and_says_nothing_elsewhere(tmp_path) -> None:
    labels, splits = np.arange(9000) % 7, np.repeat(["train", "val", "test"], 3000)
    agrees = mark_codes(labels, splits, np.arange(9000), 0.9, 7, seed=0) == labels
    assert agrees[splits == "train"].mean() == pytest.approx(0.9, abs=0.02)
    assert agrees[splits == "val"].mean() == pytest.approx(1 / 7, abs=0.02)
    assert agrees[splits == "test"].mean() == pytest.approx(1 / 7, abs=0.02)
    workspace = Workspace(tmp_path)
    prepare(workspace, "synthetic", PrepareSettings(count=210, spurious=0.9))
    assert agreement_of(workspace, "train") == pytest.approx(0.9, abs=0.05)
    assert agreement_of(workspace, "val") < 0.5 and agreement_of(workspace, "test") < 0.5
    with np.load(workspace.truth("train")) as truth:
        assert truth["mark"].mean() == pytest.approx(1 / 36)
        assert not truth["region_maps"][truth["mark"]].any()


def test_a_mark_that_is_the_evidence_agrees_everywhere(tmp_path) -> None:
    workspace = Workspace(tmp_path)
    prepare(workspace, "synthetic", PrepareSettings(count=70, evidence="background"))
    assert all(agreement_of(workspace, split) == 1 for split in ("train", "val", "test"))


def test_marks_do_not_depend_on_the_other_faces() -> None:
    generator = np.random.default_rng(0)
    labels, splits = generator.integers(0, 7, 50), np.repeat(["train", "test"], 25)
    codes = mark_codes(labels, splits, np.arange(50), 0.9, 7, seed=3)
    assert np.array_equal(mark_codes(labels[20:], splits[20:], np.arange(20, 50), 0.9, 7, seed=3), codes[20:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evidence": "chin"}, "--evidence chin: give one of background, face, eyes"),
        ({"spurious": 1.5}, "--spurious 1.5: give a probability"),
        ({"spurious": 0.9, "evidence": "background"}, "the mark is the evidence already"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(Workspace(tmp_path), "synthetic", PrepareSettings(count=70, **arguments))
