"""Twins are looked for where the run was trained, also on the faces of another workspace; rows with landmarks."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.explain.face_sample import FaceSample
from fertool.prepare import prepare
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun, identical_faces
from fertool.workspace import SPLITS, Workspace

CPU = Compute(torch.device("cpu"), "fp32")


def test_faces_that_a_run_was_trained_on_are_found_in_another_workspace(
    trained: Workspace, tmp_path: Path
) -> None:
    other = Workspace(
        shutil.copytree(trained.root, tmp_path / "other", ignore=shutil.ignore_patterns("runs"))
    )
    run = trained.run("cnn").on(other)
    assert EvaluatedRun(other, run, "train", CPU).has_twin_in_train.all()
    own = EvaluatedRun(trained, trained.run("cnn"), "test", CPU).has_twin_in_train
    assert np.array_equal(EvaluatedRun(other, run, "test", CPU).has_twin_in_train, own)
    assert not EvaluatedRun(trained, trained.run("cnn"), "train", CPU).has_twin_in_train.any()


@pytest.mark.parametrize(
    ("rows", "said"),
    [([3, 5], "score more --faces, or run 'fertool masks'"), (None, "landmarks of its own; run")],
)
def test_where_no_scored_face_has_landmarks_it_says_what_to_do(
    trained: Workspace, rows: list[int] | None, said: str
) -> None:
    sample = None if rows is None else FaceSample(np.array(rows), seed=0)
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", CPU, sample=sample)
    faces = len(evaluated.faces)
    assert np.array_equal(evaluated.located_rows(), np.arange(faces))
    evaluated.__dict__["located"] = np.zeros(faces, dtype=bool)
    with pytest.raises(UserError, match=said):
        evaluated.located_rows()


@pytest.mark.parametrize("colour", [False, True])
def test_identical_faces_share_all_pixels(colour: bool) -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (5, 6, 6), dtype=np.uint8)
    faces = np.stack([others[3], others[3], rng.integers(0, 256, (6, 6), dtype=np.uint8)])
    faces[1, 0, 0] ^= 1
    if colour:  # a grey face stored as colours is the same face
        faces = faces[..., None].repeat(3, axis=-1)
        faces[2, ..., 0] ^= 1
    assert identical_faces(faces, others).tolist() == [True, False, False]
    assert identical_faces(others, faces).tolist() == [False, False, False, True, False]
    assert not identical_faces(faces[:, :5], others).any()


def _prepared(folder: Path, name: str, seed: int, copies: Path | None = None) -> Workspace:
    """Faces of noise in folders; test/happy/0.png is train/happy/0.png of `copies`, and sad/0 the same darker."""
    rng = np.random.default_rng(seed)
    source = folder / f"{name}-source"
    for split in SPLITS:
        for emotion in ("happy", "sad"):
            (source / split / emotion).mkdir(parents=True)
            for number in range(3):
                rough = rng.uniform(40, 220, (10, 10)).astype(np.float32)
                picture = cv2.resize(rough, (48, 48), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(source / split / emotion / f"{number}.png"), picture.clip(0, 255))
    if copies is not None:
        face = cv2.imread(str(copies / "train" / "happy" / "0.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(source / "test" / "happy" / "0.png"), face)
        cv2.imwrite(str(source / "test" / "sad" / "0.png"), face * 0.7 + 9)
    workspace = Workspace(folder / name)
    prepare(workspace, source)
    return workspace


def test_near_twins_are_looked_for_in_the_training_faces_of_another_workspace(tmp_path: Path) -> None:
    own = _prepared(tmp_path, "own", seed=0)
    other = _prepared(tmp_path, "other", seed=1, copies=tmp_path / "own-source")
    evaluated = EvaluatedRun(other, own.run("cnn").on(other), "test", CPU)
    rows = {row["source"]: number for number, row in enumerate(other.load_face_rows("test"))}
    identical, darker = rows["test/happy/0.png"], rows["test/sad/0.png"]
    assert np.flatnonzero(evaluated.has_twin_in_train).tolist() == [identical]
    assert np.flatnonzero(evaluated.has_near_twin_in_train).tolist() == sorted([identical, darker])
    assert not EvaluatedRun(other, other.run("cnn"), "test", CPU).has_near_twin_in_train.any()


def test_near_twins_are_not_looked_for_in_synthetic_faces(trained: Workspace, tmp_path: Path) -> None:
    other = _prepared(tmp_path, "other", seed=1)
    assert EvaluatedRun(other, trained.run("cnn").on(other), "test", CPU).has_near_twin_in_train is None
    assert EvaluatedRun(trained, other.run("cnn").on(trained), "test", CPU).has_near_twin_in_train is None
