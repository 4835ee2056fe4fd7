import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.masks.regions import BACKGROUND, REGIONS
from fertool.score.perturbations.donors import affine_fits, draw_donors, warp
from fertool.score.perturbations.fills import blur_fill, mean_fill, noise_fill, paste_fill

MOUTH = REGIONS.index("mouth")


def some_faces(count: int = 3, side: int = 24, colours: bool = False) -> torch.Tensor:
    shape = (count, side, side, 3) if colours else (count, side, side)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("colours", [False, True])
def test_what_mean_blur_and_noise_keep_of_a_face(colours: bool) -> None:
    faces = some_faces(colours=colours)
    mean = faces.mean(dim=(1, 2))
    assert torch.allclose(mean_fill(faces), mean[:, None, None].expand_as(faces))
    blurred = blur_fill(faces)
    assert blurred.shape == faces.shape and blurred.std() < faces.std() / 4
    noise = noise_fill(faces, np.arange(3), seed=0)
    own, shuffled = faces.flatten(1, 2), noise.flatten(1, 2)
    assert torch.equal(own.sort(dim=1).values, shuffled.sort(dim=1).values) and not torch.equal(own, shuffled)


def test_noise_hangs_on_seed_and_row_and_not_on_the_batch() -> None:
    faces = some_faces()
    whole = noise_fill(faces, np.array([5, 6, 7]), seed=0)
    assert torch.equal(noise_fill(faces[1:2], np.array([6]), seed=0), whole[1:2])
    assert not torch.equal(noise_fill(faces[1:2], np.array([6]), seed=1), whole[1:2])


def test_donors_are_other_faces_and_never_twins() -> None:
    rows = np.arange(100, 160)
    clusters = np.concatenate([np.zeros(20, int), np.arange(1, 41)])
    donors = draw_donors(rows, clusters, seed=0)
    assert np.isin(donors, rows).all()
    assert (clusters[donors - 100] != clusters).all()
    assert (draw_donors(rows, clusters, seed=0) == donors).all()
    assert (draw_donors(rows, clusters, seed=1) != donors).any()


def test_one_face_alone_has_no_donor() -> None:
    with pytest.raises(UserError, match="two different faces"):
        draw_donors(np.arange(3), np.zeros(3, int), seed=0)


def test_an_affine_donor_is_fitted_exactly_and_laid_over_the_face() -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(6, 18, (1, 68, 2))
    to_donor = np.array([[[1.1, 0.1, -2.0], [-0.1, 0.9, 3.0]]])
    donor_landmarks = landmarks @ to_donor[0, :, :2].T + to_donor[0, :, 2]
    fits = affine_fits(landmarks, donor_landmarks)
    assert np.allclose(fits, to_donor)
    across, down = np.meshgrid(np.arange(24) + 0.5, np.arange(24) + 0.5)  # brightness tells the place
    donor = torch.from_numpy(5 * across + 2 * down)[None]
    warped = warp(donor, fits)[0].numpy()
    x, y = np.einsum("ij,jhw->ihw", fits[0], np.stack([across, down, np.ones_like(down)]))
    inside = (x > 0.5) & (x < 23.5) & (y > 0.5) & (y < 23.5)
    assert inside.mean() > 0.5
    assert np.allclose(warped[inside], (5 * x + 2 * y)[inside], atol=1e-2)


def test_a_face_warped_onto_itself_stays() -> None:
    faces = some_faces(colours=True)
    landmarks = np.random.default_rng(0).uniform(0, 24, (3, 68, 2))
    assert torch.allclose(warp(faces, affine_fits(landmarks, landmarks)), faces, atol=0.05)


def test_behind_a_pasted_face_lies_the_donors_background_without_its_face() -> None:
    identity = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    regions = torch.full((1, 20, 20), MOUTH, dtype=torch.uint8)
    regions[:, :, 12:] = BACKGROUND
    donor_regions = torch.full((1, 20, 20), MOUTH, dtype=torch.uint8)
    donor_regions[:, :, 16:] = BACKGROUND  # the donor's face reaches where this one has background
    texture = torch.arange(20.0).remainder(2)[None, :, None].expand(1, 20, 20)
    face = 80 + 20 * texture
    donor = torch.where(donor_regions == BACKGROUND, torch.tensor(120.0), 100 + 20 * texture)
    pasted = paste_fill(face, regions, donor, donor_regions, identity)
    assert torch.allclose(pasted[:, :, :12], face[:, :, :12], atol=0.1)  # the same face, in this one's light
    assert torch.allclose(pasted[:, :, 12:], torch.tensor(100.0), atol=0.5)  # 120 in that light
