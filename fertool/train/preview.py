"""A sheet of augmented faces, to be looked at before a training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fertool.runtime.contact_sheet import write_sheet
from fertool.summary import Summary
from fertool.train.augment import Draws, augment, draw_epoch, mix
from fertool.train.config import TrainConfig
from fertool.train.mapped_faces import MappedFaces
from fertool.train.seeds import read_seeds
from fertool.train.subset import rows_used
from fertool.workspace import Workspace

FACES = 8  # rows
EPOCHS = 9  # columns beside the face itself
ENLARGED = 2  # factor of enlargement


def preview(workspace: Workspace, config: TrainConfig, target: Path, *, seeds: str | None = None) -> Summary:
    """Write a PNG with a row for each of the first faces of train: the face, and what the first epochs make of it.

    A training with these settings on the same faces makes the same random choices.

    Args:
        workspace: where the faces lie.
        config: the settings.
        target: the PNG.
        seeds: what `--seeds` says; the first of them is shown (default: the seed of `config`).

    Raises:
        UserError: the workspace has no faces, `seeds` names no seeds, or the file cannot be written.
    """
    if seeds is not None:
        config = replace(config, seed=read_seeds(seeds)[0])
    whole = MappedFaces(workspace.load_faces("train"))
    faces = whole.part(rows_used(workspace, workspace.load_labels("train"), config))
    face_count, side = faces.shape[:2]
    rows = torch.arange(min(FACES, face_count))
    shown = torch.from_numpy(faces[rows.numpy()])
    columns = [shown.float()]
    for epoch in range(1, EPOCHS + 1):
        _, draws = draw_epoch(face_count, side, config.seed, epoch, config.augmentation)
        columns.append(_augmented(faces, rows, draws, config).float())
    sheet = torch.stack(columns, dim=1)  # (rows, columns, H, W[, 3])
    lines = [torch.cat(list(line), dim=1) for line in sheet]
    picture = torch.cat(lines, dim=0).round().to(torch.uint8).numpy()
    picture = np.repeat(np.repeat(picture, ENLARGED, axis=0), ENLARGED, axis=1)
    write_sheet(target, picture if picture.ndim == 2 else picture[..., ::-1], "--preview-augment")
    note = f"{target}: {len(rows)} faces, and what epochs 1 to {EPOCHS} of seed {config.seed} make of them"
    return Summary(data={"file": str(target)}, tables=[], notes=[note])


def _augmented(faces: MappedFaces, rows: torch.Tensor, draws: Draws, config: TrainConfig) -> torch.Tensor:
    def augmented(some: torch.Tensor) -> torch.Tensor:
        return augment(torch.from_numpy(faces[some.numpy()]), draws[some], config.augmentation)

    if not config.mixup:
        return augmented(rows)
    return mix(augmented(rows), augmented(draws.partners[rows]), draws[rows])
