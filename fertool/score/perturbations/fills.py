"""Fills: the pictures that covered regions show instead, of several kinds, so that no answer hangs on one of them.

Covered faces are unlike any that a network has seen, each fill in its own way: `mean` and `blur` leave a
smooth spot, `noise` a rough one, and `paste` another person's region, which is the least unlike. A fill is
a whole picture beside each face; a covered pixel is taken from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.masks.regions import BACKGROUND
from fertool.models.pixel_layout import channels_first, stored_layout
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.donors import affine_fits, draw_donors, warp
from fertool.score.perturbations.imputation import impute
from fertool.score.perturbations.seeded_draws import uniform_draws

FILLS = ("mean", "blur", "noise", "paste")
BLUR_SPREAD = 1 / 8  # standard deviation in sides of the picture: about the height of a mouth
LEAST_CONTRAST, MOST_CONTRAST = 0.5, 2.0  # how far a donor's contrast is brought to the face's


def check_fills(fills: Sequence[str]) -> None:
    """Raise UserError for a fill that there is not, and where there are none."""
    unknown = [fill for fill in fills if fill not in FILLS]
    if unknown or not fills:
        raise UserError(f"no fill '{', '.join(unknown)}'; there are {', '.join(FILLS)}")


@dataclass(frozen=True)
class Donors:
    """The donor of every face of a split: the face whose regions are pasted into it."""

    rows: np.ndarray  # int64 (N,); a face without landmarks is its own donor
    fits: np.ndarray  # float64 (N, 2, 3): where in its donor a point of the face lies

    @classmethod
    def draw(cls, evaluated: EvaluatedRun, seed: int) -> "Donors":
        """Donors drawn by seed among the faces whose landmarks were found, never an identical face."""
        located = np.flatnonzero(evaluated.located)
        rows = np.arange(len(evaluated.located))
        rows[located] = draw_donors(located, evaluated.clusters[located], seed)
        return cls(rows, affine_fits(evaluated.landmarks, evaluated.landmarks[rows]))


def fill_pictures(
    fill: str, evaluated: EvaluatedRun, rows: np.ndarray, donors: Donors | None, seed: int
) -> Tensor:
    """The pictures that faces show where they are covered.

    Args:
        fill: a name among `FILLS`.
        evaluated: the run and its faces.
        rows: the faces' rows in their split, int64 (B,).
        donors: the faces that `paste` takes from; the other fills need none.
        seed: seed of the fill `noise`.

    Returns:
        float32 (B, H, W[, 3]), on the device.

    Raises:
        ValueError: `paste` without donors.
    """
    faces = load(evaluated, rows)
    if fill == "paste":
        if donors is None:
            raise ValueError("paste takes from donors")
        return paste_fill(
            faces,
            _as_tensor(evaluated.region_maps, rows, evaluated),
            load(evaluated, donors.rows[rows]),
            _as_tensor(evaluated.region_maps, donors.rows[rows], evaluated),
            donors.fits[rows],
        )
    if fill == "noise":
        return noise_fill(faces, rows, seed)
    return {"mean": mean_fill, "blur": blur_fill}[fill](faces)


def load(evaluated: EvaluatedRun, rows: np.ndarray) -> Tensor:
    """The faces of `rows`, float32 (B, H, W[, 3]), on the device."""
    return _as_tensor(evaluated.faces, rows, evaluated).float()


def _as_tensor(array: np.ndarray, rows: np.ndarray, evaluated: EvaluatedRun) -> Tensor:
    return torch.from_numpy(np.array(array[rows])).to(evaluated.compute.device)


def mean_fill(faces: Tensor) -> Tensor:
    """The face's own mean, colour by colour."""
    return faces.mean(dim=(1, 2), keepdim=True).expand_as(faces)


def blur_fill(faces: Tensor) -> Tensor:
    """The face behind a Gaussian blur of an eighth of its side: light and dark are left, form is not."""
    from torchvision.transforms.functional import gaussian_blur

    planes = channels_first(faces)
    side = min(faces.shape[1:3])
    spread = side * BLUR_SPREAD
    reach = min(int(3 * spread), side - 1)  # the reflected border cannot be wider than the picture
    blurred = gaussian_blur(planes, [2 * reach + 1] * 2, [spread] * 2)
    return stored_layout(blurred)


def noise_fill(faces: Tensor, rows: np.ndarray, seed: int) -> Tensor:
    """The face's own pixels in random order: mean, deviation and range are left, form is not.

    The order is drawn by `seed` and the face's row in its split.
    """
    count = faces.shape[1] * faces.shape[2]
    face_rows = torch.from_numpy(rows).to(faces.device)
    index = uniform_draws("noise fill", seed, face_rows, count).argsort(dim=1, stable=True)
    flat = faces.flatten(1, 2)
    if flat.ndim == 3:
        index = index[..., None].expand(-1, -1, flat.shape[2])
    return flat.gather(1, index).view_as(faces)


def paste_fill(
    faces: Tensor, region_maps: Tensor, donors: Tensor, donor_maps: Tensor, fits: np.ndarray
) -> Tensor:
    """Another face laid over this one by its landmarks, in this one's light; behind it, its own background.

    On the face the donor is warped. On the background it stays where it is, with its own face taken out and
    filled in from around it (see `impute`), so that nothing of a second face looks out from behind the first.
    Light: the donor is brought to the face's mean and deviation, both taken over this face's regions, its
    contrast changed by no more than a factor of two.

    Args:
        faces: float32 (B, H, W[, 3]), grey levels 0 to 255.
        region_maps: the faces' regions, uint8 (B, H, W).
        donors: each face's donor, of the shape of `faces`.
        donor_maps: the donors' regions, uint8 (B, H, W).
        fits: float64 (B, 2, 3), where in its donor a point of the face lies (see `affine_fits`).

    Returns:
        The pictures, float32 of the shape of `faces`.
    """
    on_face = region_maps != BACKGROUND
    warped = warp(donors, fits)
    own_mean, own_spread = _light(faces, on_face)
    mean, spread = _light(warped, on_face)
    contrast = (own_spread / spread.clamp_min(1e-6)).clamp(LEAST_CONTRAST, MOST_CONTRAST)
    behind = impute(donors, donor_maps != BACKGROUND)
    pasted = torch.where(_like(on_face, faces), warped, behind)
    return ((pasted - mean) * contrast + own_mean).clamp(0, 255)


def _light(pictures: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each picture over `where`, over colours too, to be broadcast."""
    weights = _like(where, pictures).expand_as(pictures).flatten(1).float()
    weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1)
    flat = pictures.flatten(1)
    mean = (weights * flat).sum(dim=1, keepdim=True)
    spread = (weights * (flat - mean) ** 2).sum(dim=1, keepdim=True).sqrt()
    shape = (-1, *[1] * (pictures.ndim - 1))
    return mean.view(shape), spread.view(shape)


def _like(where: Tensor, pictures: Tensor) -> Tensor:
    """A mask (B, H, W) to be broadcast over the colours, where there are any."""
    return where[..., None] if pictures.ndim == 4 else where
