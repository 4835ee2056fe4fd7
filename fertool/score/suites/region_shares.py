"""The suite `attention`: the share of a run's heatmaps on each region, and how far to believe it."""

from typing import Any

import numpy as np

from fertool.explain.heatmaps import RectifiedMaps
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import Request
from fertool.masks.action_units import action_unit_maps
from fertool.masks.landmarks import interocular_distance
from fertool.masks.regions import BACKGROUND, REGIONS, region_maps
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.face_csv import region_column
from fertool.score.statistics.intervals import Resampled, resample_means
from fertool.score.statistics.json_numbers import named, named_intervals, numbers_or_none, with_intervals
from fertool.score.statistics.scales import POSITIVE, PROPORTION
from fertool.score.suites.dispersion import agreement_with, spread_of_maps
from fertool.score.suites.map_batches import Maps
from fertool.score.suites.shares import area_shares, pooled, shares_and_ceilings
from fertool.score.suites.suite_inputs import maps_beside_nulls

SCALES = {"entropy": PROPORTION, "extent": POSITIVE, "au_energy": PROPORTION, "au_cosine": PROPORTION}
MEASURES = tuple(SCALES)


def score_attention(
    evaluated: EvaluatedRun, request: Request, target: str, *, grid: int | None = None, jitter: float = 0.0
) -> tuple[Figures, Columns]:
    """Shares, areas, lifts and ceilings of the regions, the spread of the maps, and the nulls beside them.

    Faces with a template's landmarks and maps of zeros have no shares: they are counted, described and left out.

    Args:
        evaluated: the run and its faces.
        request: the explainer.
        target: the class that is explained.
        grid: cells a side that maps are brought to first, mass kept. Default: None, each map's own.
        jitter: each landmark is moved by Normal(0, (jitter * inter-ocular distance)^2), to say how far shares move.
            Default: 0, not moved.

    Returns:
        Figures. Columns, (N,): the classes, which faces count, each region's share and area, and the maps' spread and
        agreement with action units.
    """
    maps: dict[str, Maps] = {**maps_beside_nulls(evaluated, request, target)}
    if grid is not None:
        maps = {name: pooled(own, grid) for name, own in maps.items()}
    regions = np.asarray(evaluated.region_maps)
    (shares, *shares_by_null), ceilings = shares_and_ceilings(list(maps.values()), regions)
    heatmaps, *_ = maps.values()
    areas = area_shares(regions)
    empty = np.isnan(shares[:, 0])
    counted = evaluated.located & ~empty
    interocular_px = interocular_distance(evaluated.landmarks)
    entropy, extent = spread_of_maps(heatmaps, regions.shape[1:], interocular_px)
    au_energy, au_cosine = agreement_with(heatmaps, _action_units(evaluated))
    columns: Columns = {
        "label": evaluated.labels,
        "predicted": evaluated.predicted,
        "located": evaluated.located.astype(int),
        "empty": empty.astype(int),
        **{share_column(name): shares[:, code] for code, name in enumerate(REGIONS)},
        **{area_column(name): areas[:, code] for code, name in enumerate(REGIONS)},
        "entropy": entropy,
        "extent": extent,
        "au_energy": au_energy,
        "au_cosine": au_cosine,
    }
    figures: Figures = {
        "grid": list(heatmaps.shape[1:]),
        "faces": len(shares),
        "left_out": {
            "landmarks of the template": int((~evaluated.located).sum()),
            "an empty map": int((evaluated.located & empty).sum()),
        },
        "ceiling": _by_region(ceilings[evaluated.located].mean(axis=0)) if evaluated.located.any() else None,
        **_figures_of_subsets(evaluated, columns, counted),
        "nulls": {
            name: _by_region(_mean_shares(null_shares[counted]))
            for name, null_shares in zip(NULLS, shares_by_null, strict=True)
            if counted.any()
        },
        "template_faces": _describe_template_faces(evaluated),
        "jitter": _jitter(evaluated, heatmaps, shares, counted, jitter)
        if jitter > 0 and counted.any()
        else None,
    }
    return figures, columns


def _action_units(evaluated: EvaluatedRun) -> RectifiedMaps:
    """The action-unit map of each face's emotion, made for the faces that are asked for."""
    shape = evaluated.faces.shape[1:3]

    def make(rows: np.ndarray) -> np.ndarray:
        emotions = [evaluated.classes[label] for label in evaluated.labels[rows]]
        return action_unit_maps(emotions, evaluated.landmarks[rows], shape)

    return RectifiedMaps((len(evaluated.labels), *shape), make)


def _mean_shares(shares: np.ndarray) -> np.ndarray:
    """The mean (6,) of shares (N, 6) over maps that are not empty; nan where all are."""
    known = shares[~np.isnan(shares[:, 0])]
    return known.mean(axis=0) if len(known) else np.full(len(REGIONS), np.nan)


def _figures_of_subsets(evaluated: EvaluatedRun, columns: Columns, counted: np.ndarray) -> dict[str, Any]:
    """Figures overall, by true and by predicted class, and where the prediction is right and wrong."""
    right = evaluated.predicted == evaluated.labels
    subsets: dict[tuple[str, str | None], np.ndarray] = {
        ("overall", None): counted,
        ("right", None): counted & right,
        ("wrong", None): counted & ~right,
        **{
            ("per_class", name): counted & (evaluated.labels == code)
            for code, name in enumerate(evaluated.classes)
        },
        **{
            ("per_predicted", name): counted & (evaluated.predicted == code)
            for code, name in enumerate(evaluated.classes)
        },
    }
    values = face_values(columns)
    figures: dict[str, Any] = {"per_class": {}, "per_predicted": {}}
    for (
        kind,
        name,
    ), subset in subsets.items():  # one after the other: all at once take 1.5 GB for 100,000 faces
        resampled = resample_means(np.where(subset[:, None], values, np.nan), evaluated.clusters)
        subset_figures = region_figures(resampled, int(subset.sum()))
        if name is None:
            figures[kind] = subset_figures
        else:
            figures[kind][name] = subset_figures
    return figures


def face_values(columns: Columns) -> np.ndarray:
    """Shares, areas and measures of the faces side by side, (N, 2 regions + measures)."""
    names = [*map(share_column, REGIONS), *map(area_column, REGIONS), *MEASURES]
    return np.stack([np.asarray(columns[name], dtype=float) for name in names], axis=1)


def region_figures(means: Resampled, faces: int) -> dict[str, Any] | None:
    """Means of `face_values` as figures with 95% intervals; None where no face counts.

    Lift is the mean share over the mean area: 1 for a uniform map. Background ratio is what lies on the
    background over what lies on the face.
    """
    if faces == 0:
        return None
    count = len(REGIONS)
    share = means.apply(lambda values: values[..., :count])
    area = means.apply(lambda values: values[..., count : 2 * count])
    lift = means.apply(lambda values: values[..., :count] / values[..., count : 2 * count])
    ratio = means.apply(lambda values: values[..., [BACKGROUND]] / (1 - values[..., [BACKGROUND]]))
    measures = means.apply(lambda values: values[..., 2 * count :])
    return {
        "faces": faces,
        "share": named(REGIONS, share),
        "share_interval": named_intervals(REGIONS, share, PROPORTION),
        "area": named(REGIONS, area),
        "lift": named(REGIONS, lift),
        "lift_interval": named_intervals(REGIONS, lift, POSITIVE),
        **with_intervals(["background_ratio"], ratio, POSITIVE),
        **with_intervals(MEASURES, measures, list(SCALES.values())),
    }


def _describe_template_faces(evaluated: EvaluatedRun) -> dict[str, Any] | None:
    """The faces left out because of the template's landmarks: accuracy and class mix beside the rest's."""
    if evaluated.located.all():
        return None
    right = evaluated.predicted == evaluated.labels

    def describe(faces: np.ndarray) -> dict[str, Any]:
        mix = np.bincount(evaluated.labels[faces], minlength=len(evaluated.classes)) / max(faces.sum(), 1)
        return {
            "faces": int(faces.sum()),
            "accuracy": float(right[faces].mean()) if faces.any() else None,
            "class_mix": dict(zip(evaluated.classes, mix.tolist(), strict=True)),
        }

    return {"left_out": describe(~evaluated.located), "rest": describe(evaluated.located)}


def _jitter(
    evaluated: EvaluatedRun,
    heatmaps: Maps,
    shares: np.ndarray,
    counted: np.ndarray,
    jitter: float,
) -> dict[str, Any]:
    """Moves of the shares when landmarks move: of their mean over faces, and of a single face on average."""
    generator = np.random.default_rng(0)
    steps = generator.standard_normal(evaluated.landmarks.shape) * jitter
    moved = evaluated.landmarks + steps * interocular_distance(evaluated.landmarks)[:, None, None]
    margin = evaluated.workspace.masks_record()["settings"]["margin_iod"]
    moved_maps = region_maps(moved, evaluated.region_maps.shape[1:], margin)
    (others,), _ = shares_and_ceilings([heatmaps], moved_maps)
    change = others[counted] - shares[counted]
    return {
        "iod": jitter,
        "mean_moves": _by_region(change.mean(axis=0)),
        "face_moves": _by_region(np.abs(change).mean(axis=0)),
    }


def _by_region(values: np.ndarray) -> dict[str, Any]:
    return dict(zip(REGIONS, numbers_or_none(values), strict=True))


def has_map(columns: Columns) -> np.ndarray:
    """The faces that have landmarks of their own and a map that is not empty, bool (N,)."""
    located: np.ndarray = columns["located"] == 1
    return located & (columns["empty"] == 0)


def shares_in(columns: Columns) -> np.ndarray:
    """The shares of the regions, (N, 6)."""
    return np.stack([columns[share_column(region)] for region in REGIONS], axis=1)


def areas_in(columns: Columns) -> np.ndarray:
    """The regions' shares of the picture, (N, 6)."""
    return np.stack([columns[area_column(region)] for region in REGIONS], axis=1)


def share_column(region: str) -> str:
    """The column that holds the shares of a region."""
    return region_column("share", region)


def area_column(region: str) -> str:
    """The column that holds the shares of the picture that a region takes."""
    return region_column("area", region)
