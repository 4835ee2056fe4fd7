from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.runtime.files import write_npy
from fertool.train import preview
from fertool.train.augment import augment, draw_epoch, mix
from fertool.train.config import TrainConfig
from fertool.train.preview import ENLARGED, EPOCHS, FACES
from fertool.train.recipes import configure
from fertool.train.subset import rows_used
from fertool.workspace import Workspace


def cells(target: Path, side: int) -> np.ndarray:
    """(rows, columns, side, side, 3) in RGB, at the faces' own size."""
    picture = cv2.imread(str(target))[::ENLARGED, ::ENLARGED, ::-1]
    return picture.reshape(FACES, side, EPOCHS + 1, side, 3).swapaxes(1, 2)


def test_the_sheet_shows_faces_and_what_epochs_make_of_them(synthetic: Workspace, tmp_path: Path) -> None:
    config = configure("cnn", augment="strong", settings={"seed": 3, "mixup": 0.4})
    target = tmp_path / "sheet.png"
    summary = preview(synthetic, config, target)
    assert str(target) in summary.notes[0]
    faces = torch.from_numpy(np.array(synthetic.load_faces("train")))
    grey = cells(target, 48)[..., 0]
    assert np.array_equal(grey[:, 0], faces[:FACES])
    for epoch in (1, EPOCHS):
        _, draws = draw_epoch(len(faces), 48, 3, epoch, config.augmentation)
        changed = augment(faces, draws, config.augmentation)
        mixed = mix(changed, changed[draws.partners], draws)[:FACES].round()
        assert np.abs(grey[:, epoch].astype(int) - mixed.numpy()).max() <= 1
    assert (grey[:, 1] != grey[:, 2]).any()


def test_the_sheet_is_of_the_faces_that_a_training_sees(synthetic: Workspace, tmp_path: Path) -> None:
    config = configure("cnn", augment="strong", settings={"train_fraction": 0.5})
    preview(synthetic, config, tmp_path / "sheet.png")
    faces = torch.from_numpy(
        np.array(synthetic.load_faces("train"))[rows_used(synthetic, synthetic.load_labels("train"), config)]
    )
    grey = cells(tmp_path / "sheet.png", 48)[..., 0]
    assert np.array_equal(grey[:, 0], faces[:FACES])
    _, draws = draw_epoch(len(faces), 48, config.seed, 1, config.augmentation)
    changed = augment(faces, draws, config.augmentation)[:FACES].round()
    assert np.abs(grey[:, 1].astype(int) - changed.numpy()).max() <= 1


def test_colour_stays_colour(
    synthetic: Workspace, accept: Callable[[Workspace, Path, Path], None], tmp_path: Path
) -> None:
    grey = np.array(synthetic.load_faces("train"))
    coloured = np.stack([grey, grey // 2, grey // 4], axis=3)
    write_npy(synthetic.faces("train"), coloured)
    accept(synthetic, synthetic.dataset_json, synthetic.faces("train"))
    accept(synthetic, synthetic.dataset_json, synthetic.faces_csv("train"))
    preview(synthetic, configure("cnn", augment="none"), tmp_path / "sheet.png")
    sheet = cells(tmp_path / "sheet.png", 48)
    assert all(np.array_equal(sheet[:, column], coloured[:FACES]) for column in range(EPOCHS + 1))


def test_of_several_seeds_it_shows_the_first(synthetic: Workspace, tmp_path: Path) -> None:
    config = configure("cnn", augment="strong")
    preview(synthetic, config, tmp_path / "seeds.png", seeds="3-5")
    preview(synthetic, replace(config, seed=3), tmp_path / "seed.png")
    preview(synthetic, config, tmp_path / "none.png")
    assert (tmp_path / "seeds.png").read_bytes() == (tmp_path / "seed.png").read_bytes()
    assert (tmp_path / "seeds.png").read_bytes() != (tmp_path / "none.png").read_bytes()


def test_without_faces_it_says_how_to_get_some_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fertool prepare"):
        preview(Workspace(tmp_path / "empty"), TrainConfig(), tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
