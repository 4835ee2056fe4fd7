"""Twins are looked for where the run was trained, also on the faces of another workspace."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun, identical_faces
from fertool.workspace import Workspace

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
