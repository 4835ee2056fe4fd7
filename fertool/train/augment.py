"""Augmentation of whole batches, on the model's device, at the faces' own resolution."""

import functools
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.models.moved_boxes import moved_boxes
from fertool.models.pixel_layout import channels_first, stored_layout

NOISE_BANK = 1 << 20  # normal numbers; each face reads a stretch of them


@dataclass(frozen=True)
class Augmentation:
    """The augmentations and their strengths; 0 switches one off."""

    flip: bool = False  # mirror one face in two
    shift: float = 0.0  # largest shift each way, as a share of the side; in whole pixels
    rotate_deg: float = 0.0  # largest rotation each way
    crop: float = 0.0  # a random square, smaller by at most this share of the side, becomes the picture
    zoom: float = (
        0.0  # largest change of size each way, as a share; a smaller face gets its edges repeated around it
    )
    jitter: float = (
        0.0  # largest change each way of brightness, as a share of 255, and of contrast, as a share
    )
    noise: float = 0.0  # standard deviation of normal noise, as a share of 255
    erase: float = (
        0.0  # probability that a rectangle of 1/50 to 1/5 of the picture is painted over (Zhong 2020)
    )
    mixup: float = 0.0  # alpha of the Beta distribution of MixUp's shares (Zhang 2018)

    @property
    def is_none(self) -> bool:
        """Whether faces stay as they are."""
        return not any(getattr(self, field.name) for field in fields(self))

    @property
    def resamples(self) -> bool:
        """Whether pixels are interpolated."""
        return bool(self.rotate_deg or self.crop or self.zoom)


PRESETS = {
    "none": Augmentation(),
    "light": Augmentation(flip=True, shift=0.05),
    "strong": Augmentation(
        flip=True, shift=0.05, rotate_deg=15, crop=0.25, jitter=0.2, noise=0.02, erase=0.5
    ),
}


@dataclass(frozen=True)
class Draws:
    """The random choices for some faces, a row for each.

    They are keyed by (seed, epoch, row, number of faces): a face's choices depend neither on its batch nor on how many
    processes share the work.
    """

    flips: Tensor  # bool (N,)
    shifts: Tensor  # int64 (N, 2), pixels down and to the right
    angles: Tensor  # float32 (N,), radians
    crops: Tensor  # float32 (N, 3): side, and its centre's offset down and right, as shares of the picture's side
    brightness: Tensor  # float32 (N,), added, as a share of 255
    contrast: Tensor  # float32 (N,), a factor
    noise_starts: Tensor  # int64 (N,), where the face's stretch of the bank of noise begins
    erased: Tensor  # float32 (N, 4): top, left, bottom, right, as shares of the side
    partners: Tensor  # int64 (N,), the row that a face is mixed with
    own_shares: Tensor  # float32 (N,), the share of the face itself in the mix

    def __getitem__(self, rows: Tensor | slice) -> "Draws":
        """The choices for some of the faces."""
        return Draws(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device) -> "Draws":
        """The same on a device."""
        return Draws(*(getattr(self, field.name).to(device) for field in fields(self)))


def draw_epoch(
    faces: int, side: int, seed: int, epoch: int, augmentation: Augmentation
) -> tuple[Tensor, Draws]:
    """The order in which an epoch visits the faces, and its random choices for each.

    Args:
        faces: their number N.
        side: their side in pixels.
        seed: the training's.
        epoch: counted from 1.
        augmentation: how strong the choices are.

    Returns:
        rows int64 (N,), and the choices in the order of the rows (not of the visits).
    """
    key = epoch_seed(seed, epoch)
    generator = torch.Generator().manual_seed(key)
    order = torch.randperm(faces, generator=generator)
    reach = round(augmentation.shift * side)
    flips = (torch.rand(faces, generator=generator) < 0.5) & augmentation.flip
    shifts = torch.randint(-reach, reach + 1, (faces, 2), generator=generator)
    zooms = 1 + augmentation.zoom * (2 * torch.rand(faces, 1, generator=generator) - 1)

    random = np.random.default_rng(key)

    def each_way(strength: float, *shape: int) -> np.ndarray:
        return strength * random.uniform(-1, 1, (faces, *shape))

    radians = np.radians(each_way(augmentation.rotate_deg))
    sides = 1 - augmentation.crop * random.uniform(0, 1, (faces, 1))
    squares = np.hstack([sides / zooms.numpy(), (1 - sides) * random.uniform(-0.5, 0.5, (faces, 2))])
    added, factors = each_way(augmentation.jitter), 1 + each_way(augmentation.jitter)
    noise_starts = random.integers(0, NOISE_BANK, faces)
    rectangles = _rectangles(faces, augmentation.erase, random)
    partners = random.permutation(faces)
    shares = np.ones(faces)
    if augmentation.mixup:
        shares = random.beta(augmentation.mixup, augmentation.mixup, faces)
    angles, crops, brightness, contrast, erased, own_shares = (
        torch.from_numpy(values.astype(np.float32))
        for values in (radians, squares, added, factors, rectangles, shares)
    )
    return order, Draws(
        flips=flips,
        shifts=shifts,
        angles=angles,
        crops=crops,
        brightness=brightness,
        contrast=contrast,
        noise_starts=torch.from_numpy(noise_starts),
        erased=erased,
        partners=torch.from_numpy(partners),
        own_shares=own_shares,
    )


def _rectangles(faces: int, probability: float, random: np.random.Generator) -> np.ndarray:
    area = random.uniform(1 / 50, 1 / 5, faces)
    aspect = np.exp(random.uniform(np.log(0.4), np.log(2.5), faces))
    size = np.sqrt(np.stack([area * aspect, area / aspect], axis=1)).clip(max=1)
    corner = random.uniform(0, 1, (faces, 2)) * (1 - size)
    size *= random.uniform(0, 1, (faces, 1)) < probability
    return np.hstack([corner, corner + size])


def epoch_seed(seed: int, epoch: int) -> int:
    """A 63-bit seed that differs between epochs and runs."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def augment(pixels: Tensor, draws: Draws, augmentation: Augmentation) -> Tensor:
    """Change each face of a batch (B, H, W[, 3]), pixels 0..255, by its own draws; MixUp is done by `mix`.

    uint8 stays uint8 where faces are only moved by whole pixels; otherwise float32 is returned.
    """
    if augmentation.resamples:
        pixels = _resampled(pixels, draws)
    elif augmentation.flip or augmentation.shift:
        pixels = _moved(pixels, draws)
    if augmentation.jitter:
        pixels = pixels.float()
        mean = pixels.flatten(1).mean(dim=1)
        contrast, brightness = (_per_face(values, pixels) for values in (draws.contrast, draws.brightness))
        mean = _per_face(mean, pixels)
        pixels = (pixels - mean) * contrast + mean + 255 * brightness
    if augmentation.noise:
        # each row of the view is the stretch that begins there; only the rows that are read are copied
        stretches = _noise_bank(pixels.device, pixels[0].numel()).unfold(0, pixels[0].numel(), 1)
        noise = stretches[draws.noise_starts].view(pixels.shape)
        pixels = pixels.float() + 255 * augmentation.noise * noise
    if augmentation.erase:
        pixels = pixels.float()
        inside = _erased(draws, pixels.shape[1])
        inside = inside if pixels.ndim == 3 else inside[..., None]
        pixels = torch.where(inside, _per_face(pixels.flatten(1).mean(dim=1), pixels), pixels)
    return pixels.clamp(0, 255) if pixels.is_floating_point() else pixels


def mix(pixels: Tensor, partners: Tensor, draws: Draws) -> Tensor:
    """MixUp: share * face + (1 - share) * partner, float32; faces (B, H, W[, 3]), masks (B, M, H, W) or others."""
    shares = _per_face(draws.own_shares, pixels)
    return shares * pixels.float() + (1 - shares) * partners.float()


def move_masks(masks: Tensor, draws: Draws, augmentation: Augmentation, void: int) -> Tensor:
    """Move soft masks, float32 (B, M, H, W), as their faces are augmented (MixUp apart).

    Where padding (repeated edges) or erasing made the picture, every mask is 0 but the one numbered `void`, which is 1:
    masks that added up to 1 still do. A point that lies in the picture, if beyond the centres of its outermost pixels,
    belongs to the picture.
    """
    height, width = masks.shape[2:]
    own: Tensor | None = None
    if augmentation.resamples:
        grid = _sampling_grid(draws, masks.shape)
        own = (grid.abs() <= 1).all(dim=3)
        masks = _sample(masks, grid)
    elif augmentation.flip or augmentation.shift:
        rows, columns = _origins(draws, height, width)
        own = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        pixels = (width * rows[:, :, None] + columns[:, None]).flatten(1)
        pixels = pixels[:, None].expand(-1, masks.shape[1], -1)
        masks = masks.flatten(2).gather(2, pixels).view(masks.shape)
    if augmentation.erase:
        kept = ~_erased(draws, height)
        own = kept if own is None else own & kept
    if own is None:
        return masks
    masks = masks * own[:, None]
    masks[:, void] += (~own).to(masks.dtype)
    return masks


def move_boxes(boxes: Tensor, draws: Draws, side: int) -> Tensor:
    """Move boxes (B, 4) of left, top, right, bottom in pixels as their faces are augmented.

    A rotated box becomes the upright one around it.
    """
    return moved_boxes(boxes, *_sources(draws, side), (side, side))


def _per_face(values: Tensor, pixels: Tensor) -> Tensor:
    return values.view(-1, *[1] * (pixels.ndim - 1))


def _erased(draws: Draws, side: int) -> Tensor:
    """The rectangles that are painted over, bool (B, side, side)."""
    top, left, bottom, right = ((edge * side).round()[:, None] for edge in draws.erased.unbind(dim=1))
    line = torch.arange(side, device=draws.erased.device)
    return ((line >= top) & (line < bottom))[:, :, None] & ((line >= left) & (line < right))[:, None]


def _moved(pixels: Tensor, draws: Draws) -> Tensor:
    """Flip and shift in one gather: each output pixel is read where it comes from; edges are repeated outwards."""
    height, width = pixels.shape[1:3]
    rows, columns = _origins(draws, height, width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    faces = torch.arange(len(pixels), device=pixels.device)
    return pixels[faces[:, None, None], rows[:, :, None], columns[:, None, :]]


def _origins(draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The rows (B, H) and columns (B, W) that output pixels come from; they may lie outside the picture."""
    device = draws.shifts.device
    rows = torch.arange(height, device=device) - draws.shifts[:, :1]
    columns = torch.arange(width, device=device) - draws.shifts[:, 1:]
    return rows, torch.where(draws.flips[:, None], width - 1 - columns, columns)


def _resampled(pixels: Tensor, draws: Draws) -> Tensor:
    """One bilinear sampling for flip, shift, rotation, crop and zoom together; edges are repeated outwards."""
    images = channels_first(pixels)
    return stored_layout(_sample(images.float(), _sampling_grid(draws, images.shape)))


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _sampling_grid(draws: Draws, shape: torch.Size) -> Tensor:
    """Where the output points of images (B, C, H, W) come from: (B, H, W, 2), x and y from -1 to 1 over a picture."""
    matrix, offset = _sources(draws, shape[2])
    theta = torch.cat([matrix, offset[:, :, None]], dim=2)
    return F.affine_grid(theta, list(shape), align_corners=False)


def _sources(draws: Draws, side: int) -> tuple[Tensor, Tensor]:
    """Where output points come from: matrix (B, 2, 2) and offset (B, 2) on (x, y), -1 to 1 over a picture."""
    cosine, sine = draws.angles.cos(), draws.angles.sin()
    mirror = 1 - 2 * draws.flips.to(cosine.dtype)
    matrix = torch.stack(
        [torch.stack([mirror * cosine, -sine], 1), torch.stack([mirror * sine, cosine], 1)], 1
    )
    matrix = draws.crops[:, :1, None] * matrix
    shift = draws.shifts.flip(1).to(cosine.dtype) * (2 / side)
    offset = 2 * draws.crops[:, [2, 1]] - torch.einsum("bij,bj->bi", matrix, shift)
    return matrix, offset


@functools.cache
def _noise_bank(device: torch.device, length: int) -> Tensor:
    """Normal numbers, of which NOISE_BANK overlapping stretches of `length` can be read."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(NOISE_BANK + length - 1, generator=generator).to(device)
