"""What is asked of a map: its losses, one a face.

A map is judged at the face's pixels, brought there by the one rule of interpolation, so that what is guided is
what `fertool score` measures. What is void counts for nothing. M_r is the heat on region r, M the heat on all of
them.

A share does not see how large a map is, so a network could answer by one that vanishes. EVIDENCE, a small fixed
heat where none is wanted, stands against it: a map much larger than it is judged by its share, one that vanishes
as if all of it lay wrong.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fertool.explain.interpolation import interpolation_matrix
from fertool.masks.regions import BACKGROUND, REGIONS

EVIDENCE = 0.1  # logits; for maps of attention the share of a row
LEAST_SHARE = 1e-3  # of EVIDENCE that each region of the face has, so that a divergence is finite

DEFAULT_SHARES = dict.fromkeys(REGIONS[1:], 1 / (len(REGIONS) - 1))
"""What `regions` wants unless it is told: the face's regions alike, the background nothing."""


@dataclass(frozen=True)
class MapOnFace:
    """A batch's maps (B, h, w), and the planes of `fertool.train.guidance.planes` that their faces have.

    Cells are brought to the face's pixels bilinearly, each cell's heat spread over them. `planes` (B, P, H, W) are
    those of the regions, the background first, and of void; `wanted` (B, H, W) those that a form may ask for.
    """

    cells: Tensor
    planes: Tensor
    wanted: Tensor | None = None

    @cached_property
    def heat(self) -> Tensor:
        """The map at the face's pixels, (B, H, W): it adds up, but for the edges, to what the cells add up to."""
        down, across = self._interpolation
        return down @ self.cells @ across.T

    @cached_property
    def of_regions(self) -> Tensor:
        """The heat on each region, (B, regions)."""
        # what a cell's heat has on a region is brought to the cells, rather than the heat to as many pixels
        down, across = self._interpolation
        regions = self.planes[:, :-1]
        of_columns = regions.flatten(0, 2) @ across
        of_cells = of_columns.unflatten(0, (-1, len(down))).mT.flatten(0, 1) @ down
        on_cells = of_cells.view(*regions.shape[:2], *self.cells.shape[:0:-1]).mT
        return (on_cells * self.cells[:, None]).sum(dim=(2, 3))

    @property
    def void(self) -> Tensor:
        """What counts for nothing, (B, H, W): 1, 0, or, where one face of a mix is void, its share of the mix."""
        return self.planes[:, -1]

    @property
    def wanted_where_known(self) -> Tensor:
        """The wanted map of the faces that are not void, (B, H, W): a mix wants there what its other face wants."""
        return self.wanted / (1 - self.void).clamp(min=torch.finfo(self.wanted.dtype).eps)

    @property
    def _interpolation(self) -> tuple[Tensor, Tensor]:
        """From cells to pixels: down (H, h) and across (W, w)."""
        return tuple(
            _interpolation_matrix(pixels, cells, self.cells.device, self.cells.dtype)
            for pixels, cells in zip(self.planes.shape[2:], self.cells.shape[1:], strict=True)
        )


@functools.cache
def _interpolation_matrix(pixels: int, cells: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = interpolation_matrix(pixels, cells) * (cells / pixels)
    # the backward pass keeps it, which it may not do of one made in inference mode
    with torch.inference_mode(False):
        return torch.from_numpy(matrix).to(device, dtype)


Form = Callable[[MapOnFace], Tensor]
"""The loss of each face, (B,)."""


def background_shares(laid: MapOnFace) -> tuple[Tensor, Tensor]:
    """The background's share as a score has it, and which maps are empty: (B,), bool (B,).

    Nothing of an empty map lies on any region: it has no share, and 0 stands for it.
    """
    total = laid.of_regions.sum(dim=1)
    is_empty = total <= 0
    return laid.of_regions[:, BACKGROUND].where(~is_empty, 0) / total.where(~is_empty, 1), is_empty


def background_sum(laid: MapOnFace) -> Tensor:
    """The heat on the background, M_background: the plain formula.

    In cells it is the mean over the cells of h w L_ij background_ij: with Grad-CAM in logits it means the same on
    every grid. A map that shrinks lowers it; a signed map has no lower bound.
    """
    return laid.of_regions[:, BACKGROUND]


def background(laid: MapOnFace) -> Tensor:
    """The background's share, (M_background + EVIDENCE) / (M + EVIDENCE), 0..1: a map that vanishes costs 1."""
    return (laid.of_regions[:, BACKGROUND] + EVIDENCE) / (laid.of_regions.sum(dim=1) + EVIDENCE)


def regions(wanted: Mapping[str, float] | None = None) -> Form:
    """The divergence of the regions' shares from wanted ones, KL(wanted || share), nats; 0 where they are met.

    `wanted` maps regions to weights, scaled to add up to 1 over those that are in the picture; a face that shows
    none of them costs nothing. EVIDENCE lies on the background but for LEAST_SHARE of it on each region of the
    face.
    """
    weights = [(DEFAULT_SHARES if wanted is None else wanted).get(name, 0.0) for name in REGIONS]

    def divergence(laid: MapOnFace) -> Tensor:
        of_regions = laid.of_regions
        evidence = torch.full_like(of_regions, EVIDENCE * LEAST_SHARE)
        evidence[:, BACKGROUND] = EVIDENCE * (1 - LEAST_SHARE * (len(REGIONS) - 1))
        shares = (of_regions + evidence) / (of_regions.sum(dim=1, keepdim=True) + EVIDENCE)
        shown = laid.planes[:, :-1].sum(dim=(2, 3)) > 0
        target = shares.new_tensor(weights) * shown
        target = target / target.sum(dim=1, keepdim=True).clamp(min=torch.finfo(target.dtype).tiny)
        return (torch.xlogy(target, target) - target * shares.log()).sum(dim=1)

    return divergence


def wanted_cosine(laid: MapOnFace) -> Tensor:
    """1 - cosine of the map and the wanted one, over the pixels that are not void: 0..1 where heat is not negative.

    Belharbi et al. 2024, 'Guided Interpretable Facial Expression Recognition via Spatial Action Unit Cues', whose
    map is the mean of a layer's channels. A face that shows nothing of the wanted map costs nothing.
    """
    weights = (1 - laid.void).sqrt()
    return _one_less_agreement(laid.heat * weights, laid.wanted_where_known * weights)


def wanted_correlation(laid: MapOnFace) -> Tensor:
    """1 - Pearson's correlation of the map and the wanted one, over the pixels that are not void: 0..2.

    Bonnard et al. 2022, 'Privileged Attribution Constrained Deep Networks for Facial Expression Recognition', whose
    loss is the cross-correlation of the standardised attribution (gradient times input of a layer) with the
    landmarks' heatmap. A face that shows nothing of the wanted map costs nothing.
    """
    known = 1 - laid.void

    def centred(values: Tensor) -> Tensor:
        mean = (values * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
        return (values - mean[:, None, None]) * known.sqrt()

    return _one_less_agreement(centred(laid.heat), centred(laid.wanted_where_known))


def _one_less_agreement(heat: Tensor, wanted: Tensor) -> Tensor:
    # EVIDENCE spread evenly over the pixels, at a right angle to what is wanted
    squared = heat.square().sum(dim=(1, 2)) + EVIDENCE**2 / heat[0].numel()
    size = wanted.square().sum(dim=(1, 2))
    common = (heat * wanted).sum(dim=(1, 2))
    tiny = torch.finfo(heat.dtype).tiny
    return torch.where(size > 0, 1 - common * (squared * size).clamp(min=tiny).rsqrt(), 0)


FORMS: dict[str, Form] = {
    "background": background,
    "background-sum": background_sum,
    "regions": regions(),
    "action-units": wanted_cosine,
    "landmarks": wanted_correlation,
}
"""The forms by name, the default first."""
