"""The forms of guidance: losses on a map, one for each face.

A map is judged at the face's pixels, interpolated by the same rule as in `fertool score`, so that guidance acts on what
is measured. Void pixels count for nothing. M_r is the map's sum over region r, M its sum over all regions.

A share does not depend on how large a map is, so a network could lower it with a map that vanishes. EVIDENCE prevents
this: it is a small fixed heat where none is wanted. A map much larger than EVIDENCE is judged by its share; a map that
vanishes is judged as if all of it lay in the wrong place.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fertool.explain.interpolation import interpolation_matrix
from fertool.masks.regions import BACKGROUND, REGIONS

EVIDENCE = 0.1  # in logits; for attention maps in shares of a row
LEAST_SHARE = 1e-3  # each facial region's share of EVIDENCE, so that a divergence is finite

DEFAULT_SHARES = dict.fromkeys(REGIONS[1:], 1 / (len(REGIONS) - 1))
"""The default wanted shares of `regions`: every facial region the same, the background 0."""


@dataclass(frozen=True)
class MapOnFace:
    """A batch's maps and the masks of their faces.

    Attributes:
        cells: the maps on their own grid, (B, h, w). Each cell's heat is spread over the face's pixels bilinearly.
        masks: (B, M, H, W): those of the regions, the background first, then of void (`fertool.train.guidance.masks`).
        wanted: the maps that `action-units` and `landmarks` ask for, (B, H, W).
    """

    cells: Tensor
    masks: Tensor
    wanted: Tensor | None = None

    @cached_property
    def heat(self) -> Tensor:
        """The map at the face's pixels, (B, H, W); it has the cells' sum, but for the edges."""
        down, across = self._interpolation
        return down @ self.cells @ across.T

    @cached_property
    def region_sums(self) -> Tensor:
        """The map's sum over each region, (B, regions)."""
        # the masks are brought to the cells, which are fewer than the pixels that the cells would be brought to
        down, across = self._interpolation
        regions = self.masks[:, :-1]
        by_column = regions.flatten(0, 2) @ across
        by_cell = by_column.unflatten(0, (-1, len(down))).mT.flatten(0, 1) @ down
        on_cells = by_cell.view(*regions.shape[:2], *self.cells.shape[:0:-1]).mT
        return (on_cells * self.cells[:, None]).sum(dim=(2, 3))

    @property
    def void(self) -> Tensor:
        """The mask of what counts for nothing, (B, H, W): 0, 1, or the void face's share where only one of a mix is."""
        return self.masks[:, -1]

    @property
    def wanted_where_known(self) -> Tensor:
        """The wanted map, (B, H, W); where one face of a mix is void, its other face's."""
        assert self.wanted is not None  # the forms that read it come with it
        return self.wanted / (1 - self.void).clamp(min=torch.finfo(self.wanted.dtype).eps)

    @property
    def _interpolation(self) -> tuple[Tensor, Tensor]:
        """From cells to pixels: down (H, h) and across (W, w)."""
        (height, width), (rows, columns) = self.masks.shape[2:], self.cells.shape[1:]
        kind = self.cells.device, self.cells.dtype
        return _interpolation_matrix(height, rows, *kind), _interpolation_matrix(width, columns, *kind)


@functools.cache
def _interpolation_matrix(pixels: int, cells: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = interpolation_matrix(pixels, cells) * (cells / pixels)
    # the backward pass keeps it, and may not keep what was made in inference mode
    with torch.inference_mode(False):
        return torch.from_numpy(matrix).to(device, dtype)


Form = Callable[[MapOnFace], Tensor]
"""The loss of each face, (B,)."""


def background_shares(laid: MapOnFace) -> tuple[Tensor, Tensor]:
    """The background's share as `fertool score` has it, and which maps are empty: (B,), bool (B,).

    An empty map, which is 0 on every region, has no share; 0 stands for it.
    """
    total = laid.region_sums.sum(dim=1)
    is_empty = total <= 0
    return laid.region_sums[:, BACKGROUND].where(~is_empty, 0) / total.where(~is_empty, 1), is_empty


def background_sum(laid: MapOnFace) -> Tensor:
    """The map's sum over the background, M_background: the plain formula.

    On the cells it is the mean of h w L_ij background_ij: with Grad-CAM in logits it means the same on every grid. A
    map that shrinks lowers it; a signed map has no lower bound.
    """
    return laid.region_sums[:, BACKGROUND]


def background(laid: MapOnFace) -> Tensor:
    """The background's share, (M_background + EVIDENCE) / (M + EVIDENCE), 0..1: a map that vanishes costs 1."""
    return (laid.region_sums[:, BACKGROUND] + EVIDENCE) / (laid.region_sums.sum(dim=1) + EVIDENCE)


def regions(wanted: Mapping[str, float] | None = None) -> Form:
    """The divergence KL(wanted || share) of the regions' shares from wanted ones, in nats; 0 where they agree.

    `wanted` maps regions to weights, which are scaled to add up to 1 over the regions in the picture; a face that shows
    none of them costs nothing. EVIDENCE lies on the background, but for LEAST_SHARE of it on each facial region.
    """
    weights = [(DEFAULT_SHARES if wanted is None else wanted).get(name, 0.0) for name in REGIONS]

    def divergence(laid: MapOnFace) -> Tensor:
        region_sums = laid.region_sums
        evidence = torch.full_like(region_sums, EVIDENCE * LEAST_SHARE)
        evidence[:, BACKGROUND] = EVIDENCE * (1 - LEAST_SHARE * (len(REGIONS) - 1))
        shares = (region_sums + evidence) / (region_sums.sum(dim=1, keepdim=True) + EVIDENCE)
        shown = laid.masks[:, :-1].sum(dim=(2, 3)) > 0
        target = shares.new_tensor(weights) * shown
        target = target / target.sum(dim=1, keepdim=True).clamp(min=torch.finfo(target.dtype).tiny)
        return (torch.xlogy(target, target) - target * shares.log()).sum(dim=1)

    return divergence


def wanted_cosine(laid: MapOnFace) -> Tensor:
    """1 - cosine of the map and the wanted one, over the pixels that are not void: 0..1 for a map without negatives.

    Belharbi et al. 2024, 'Guided Interpretable Facial Expression Recognition via Spatial Action Unit Cues'; their
    map is the mean of a layer's channels. A face that shows nothing of the wanted map costs nothing.
    """
    weights = (1 - laid.void).sqrt()
    return _one_less_agreement(laid.heat * weights, laid.wanted_where_known * weights)


def wanted_correlation(laid: MapOnFace) -> Tensor:
    """1 - Pearson's correlation of the map and the wanted one, over the pixels that are not void: 0..2.

    Bonnard et al. 2022, 'Privileged Attribution Constrained Deep Networks for Facial Expression Recognition'; their
    loss is the cross-correlation of the standardised attribution (gradient times input of a layer) with the
    landmarks' heatmap. A face that shows nothing of the wanted map costs nothing.
    """
    known = 1 - laid.void

    def centred(values: Tensor) -> Tensor:
        mean = (values * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
        return (values - mean[:, None, None]) * known.sqrt()

    return _one_less_agreement(centred(laid.heat), centred(laid.wanted_where_known))


def _one_less_agreement(heat: Tensor, wanted: Tensor) -> Tensor:
    # EVIDENCE is spread evenly over the pixels, orthogonal to the wanted map
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
