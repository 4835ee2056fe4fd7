"""The suite `faithfulness`: the answer as pixels are removed in the order of their heat.

- Deletion and insertion (Petsiuk, Das and Saenko 2018, 'RISE'): the area under the curve of the explained
  class's probability as the most relevant pixels are taken away, to the face's mean, and as they are put
  into the blurred face. A faithful map has a low deletion and a high insertion.
- ROAD (Rong et al. 2022, 'A Consistent and Efficient Evaluation Strategy for Attribution Methods'): 10 to 90%
  of the pixels are removed, most or least relevant first, by noisy linear imputation, so that the shape of
  what was removed does not give the class away.

Heatmaps are brought to the faces' resolution bilinearly. Pixels of equal heat go in random order, drawn by
seed and the face's row: a rectified map is zero on half of the face, and the order of the pixels in memory
is no order of relevance. All figures stand beside those of the null explanations on the same faces.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fertool.explain.heatmaps import RectifiedMaps
from fertool.explain.registry import Request
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.batched_forward import Network
from fertool.score.perturbations.fills import blur_fill, mean_fill
from fertool.score.perturbations.imputation import impute
from fertool.score.perturbations.number_format import network_of
from fertool.score.perturbations.seeded_draws import normal_draws, uniform_draws
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import Scores, groups, run_label, with_interval
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.json_numbers import with_intervals
from fertool.score.statistics.scales import PROPORTION, UNBOUNDED
from fertool.score.suites.input_files import explainer_and_target, heatmap_files, without_nulls
from fertool.score.suites.suite import Results, Suite
from fertool.score.suites.suite_inputs import explained_classes, faces_counted, maps_beside_nulls, with_heat
from fertool.summary import Table

STEPS = 16
ROAD_SHARES = tuple(percent / 100 for percent in range(10, 100, 10))  # of pixels removed, as in the paper
ROAD_NOISE = 0.01 * 255  # standard deviation in grey levels: the paper's, of pixels from 0 to 1
FACES = 1000  # scored unless told otherwise: an interval of a few tenths of a point
BATCH_FACES = 32

KINDS = ("deletion", "insertion", "road_most", "road_least")  # of curves
MEASURES = {
    "deletion": "deletion, lower is better",
    "insertion": "insertion, higher is better",
    "road_most": "ROAD most relevant first, lower is better",
    "road_least": "ROAD least relevant first, higher is better",
    "road": "ROAD, half their difference, higher is better",
}


def score_faithfulness(
    evaluated: EvaluatedRun,
    request: Request,
    target: str,
    *,
    nulls: bool = True,
    steps: int = STEPS,
    seed: int = 0,
    faces: int = FACES,
) -> tuple[Figures, Columns]:
    """Deletion, insertion and ROAD of an explainer's maps and of the nulls', with their curves.

    A face with an empty map, the explainer's or a null's, is left out and counted. Where none is left figures are
    None.

    Args:
        evaluated: the run and its faces.
        request: the explainer.
        target: the class that is explained: predicted, label, or a class by its name.
        nulls: whether the nulls' maps are scored too; without, the explainer's are, on the same faces. Default: True.
        steps: number of steps in which deletion and insertion change all pixels. Default: 16.
        seed: seed of the sample, of the order of equal heat and of ROAD's noise. Default: 0.
        faces: the size of the random sample of faces, at most. Default: 1000.

    Returns:
        Figures. Columns: `<measure>` of the explainer, `<measure>_<null>` of the nulls, (N,), nan where a face was
        not scored.

    Raises:
        UserError: a target that is none, or `all`.
    """
    classes = explained_classes(evaluated, target)
    maps = maps_beside_nulls(evaluated, request, target)
    full = with_heat(maps.values())
    if not nulls:
        maps = {request.key: maps[request.key]}
    drawn = np.random.default_rng(seed).permutation(len(full))[:faces]
    rows = np.sort(drawn[full[drawn]])
    probability, right = _curves(evaluated, maps, rows, classes, steps, seed)

    figures: Figures = {
        "faces": len(full),
        "counted": len(rows),
        "left_out": {"an empty map": len(drawn) - len(rows), "not drawn": len(full) - len(drawn)},
        "seed": seed,
        "shares_removed": np.linspace(0, 1, steps + 1).tolist(),
        "road_shares_removed": list(ROAD_SHARES),
        "maps": {},
    }
    columns: Columns = {}
    for name in maps:
        curves = {kind: probability[name, kind] for kind in KINDS}
        values = _measures(curves)
        for measure, face_values in values.items():
            column = np.full(len(full), np.nan)
            column[rows] = face_values
            columns[measure if name == request.key else f"{measure}_{name}"] = column
        hits = {kind: right[name, kind] for kind in curves}
        figures["maps"][name] = _figures(values, curves, hits, evaluated.clusters[rows])
    return figures, columns


def _measures(curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The measures of each face, (N,), from probabilities (N, steps)."""
    from scipy.integrate import trapezoid

    steps = curves["deletion"].shape[1] - 1
    most, least = curves["road_most"].mean(axis=1), curves["road_least"].mean(axis=1)
    return {
        "deletion": trapezoid(curves["deletion"], dx=1 / steps, axis=1),
        "insertion": trapezoid(curves["insertion"], dx=1 / steps, axis=1),
        "road_most": most,
        "road_least": least,
        "road": (least - most) / 2,
    }


def _figures(
    values: dict[str, np.ndarray],
    curves: dict[str, np.ndarray],
    right: dict[str, np.ndarray],
    clusters: np.ndarray,
) -> dict[str, Any]:
    if len(clusters) == 0:
        return {
            **dict.fromkeys(values),
            **{f"{measure}_interval": [None, None] for measure in values},
            "probability": dict.fromkeys(curves),
            "accuracy": dict.fromkeys(right),
        }
    means = resample_means(np.column_stack(list(values.values())), clusters)
    return {
        **with_intervals(list(values), means),
        "probability": {kind: curve.mean(axis=0).tolist() for kind, curve in curves.items()},
        "accuracy": {kind: curve.mean(axis=0).tolist() for kind, curve in right.items()},
    }


@torch.inference_mode()
def _curves(
    evaluated: EvaluatedRun,
    maps: dict[str, RectifiedMaps],
    rows: np.ndarray,
    classes: np.ndarray,
    steps: int,
    seed: int,
) -> tuple[dict[tuple[str, str], np.ndarray], dict[tuple[str, str], np.ndarray]]:
    """Probability of the explained class and whether the face is recognised, (rows, steps), by map and kind."""
    device = evaluated.compute.device
    network_on = network_of(evaluated)
    probability: dict[tuple[str, str], list[np.ndarray]] = {
        (name, kind): [] for name in maps for kind in KINDS
    }
    right: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in probability}
    with progress_bar(f"{evaluated.run.name}: faithfulness", len(rows) * len(maps), "maps") as bar:
        for start in range(0, len(rows), BATCH_FACES):
            batch = rows[start : start + BATCH_FACES]
            faces = torch.from_numpy(np.array(evaluated.faces[batch])).to(device).float()
            batch_rows = torch.from_numpy(batch).to(device)
            network = network_on(batch)
            mean, blurred = mean_fill(faces), blur_fill(faces)
            # the ways of all maps have them in common
            own, at_mean, at_blurred = network(torch.cat([faces, mean, blurred])).split(len(faces))
            explained = torch.from_numpy(classes[batch]).to(device)
            labels = torch.from_numpy(evaluated.labels[batch]).to(device)
            for name, split_maps in maps.items():
                heat = to_faces(torch.from_numpy(split_maps[batch]).to(device), faces.shape[1:3])
                ranks = relevance_ranks(heat, batch_rows, seed)
                logits = {
                    "deletion": flip_logits(network, faces, mean, ranks, steps, (own, at_mean)),
                    "insertion": flip_logits(network, blurred, faces, ranks, steps, (at_blurred, own)),
                }
                logits["road_most"], logits["road_least"] = road_logits(
                    network, faces, ranks, batch_rows, seed
                )
                for kind, kind_logits in logits.items():
                    chances = kind_logits.softmax(dim=2)[
                        :, torch.arange(len(faces), device=device), explained
                    ]
                    probability[name, kind].append(chances.T.cpu().numpy())
                    hits = kind_logits.argmax(dim=2) == labels
                    right[name, kind].append(hits.T.cpu().numpy())
                bar.update(len(faces))
    no_curves = np.empty((0, steps + 1))
    joined = [
        {key: np.concatenate(parts) if parts else no_curves for key, parts in kept.items()}
        for kept in (probability, right)
    ]
    return joined[0], joined[1]


# --- pixels in the order of their relevance -----------------------------------------------------------------


def to_faces(heatmaps: Tensor, shape: Sequence[int]) -> Tensor:
    """Maps (B, h, w) brought bilinearly to the faces' resolution (B, H, W), as shares of each one's largest.

    Equal pixels stay equal: interpolation leaves them different in the last digits.
    """
    shown = F.interpolate(heatmaps[:, None].float(), size=tuple(shape), mode="bilinear", align_corners=False)[
        :, 0
    ]
    largest = shown.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(shown.dtype).tiny)
    return (shown / largest).round(decimals=6)


def relevance_ranks(heat: Tensor, rows: Tensor, seed: int) -> Tensor:
    """The place of each pixel in the order of relevance, int64 (B, H, W): 0 is the most relevant.

    Equal pixels stand in random order, by seed and row (B,).
    """
    flat = heat.flatten(1)
    shuffled = uniform_draws("order of equal pixels", seed, rows, flat.shape[1]).argsort(dim=1, stable=True)
    order = shuffled.gather(1, flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    places = torch.arange(flat.shape[1], device=heat.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(heat)


def flip_logits(
    network: Network,
    start: Tensor,
    end: Tensor,
    ranks: Tensor,
    steps: int,
    at_ends: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Logits on the way from one picture to another, whose pixels are flipped by rank.

    Args:
        network: pictures -> logits.
        start: the pictures that the way begins with, float (B, H, W[, 3]).
        end: the pictures that it ends with, of the same shape.
        ranks: the order in which pixels are flipped, from 0, (B, H, W).
        steps: number of steps; two or more with `at_ends`.
        at_ends: logits (B, C) of `start` and of `end`, where they are known. Default: None, they are computed.

    Returns:
        (steps + 1, B, C).
    """
    pixels = ranks[0].numel()
    counts = torch.linspace(0, pixels, steps + 1, device=ranks.device).round()
    if at_ends is not None:
        counts = counts[1:-1]
    flipped = ranks < counts.view(-1, 1, 1, 1)
    flipped = flipped[..., None] if start.ndim == 4 else flipped
    pictures = torch.where(flipped, end, start)
    logits = network(pictures.flatten(0, 1)).unflatten(0, (len(counts), len(ranks)))
    return logits if at_ends is None else torch.cat([at_ends[0][None], logits, at_ends[1][None]])


def road_logits(
    network: Network, faces: Tensor, ranks: Tensor, rows: Tensor, seed: int, noise: float = ROAD_NOISE
) -> tuple[Tensor, Tensor]:
    """Logits with `ROAD_SHARES` of the pixels removed, most relevant first and least relevant first.

    Args:
        network: pictures -> logits.
        faces: float (B, H, W[, 3]).
        ranks: the order of relevance, 0 the most relevant pixel, (B, H, W).
        rows: the faces' rows in their split, (B,).
        seed: seed of the noise, which is drawn by seed and row.
        noise: deviation of what is added to imputed pixels, in grey levels. Default: 2.55.

    Returns:
        Most relevant first (9, B, C), and least relevant first (9, B, C).
    """
    pixels = ranks[0].numel()
    added = noise * normal_draws("ROAD", seed, rows, faces[0].numel()).view_as(faces)
    logits = []
    for share in ROAD_SHARES:  # one at a time: the more is missing, the longer the imputation takes
        count = round(share * pixels)
        missing = torch.cat([ranks < count, ranks >= pixels - count])
        pictures = impute(torch.cat([faces, faces]), missing)
        where = missing[..., None] if faces.ndim == 4 else missing
        pictures += where * torch.cat([added, added])
        logits.append(network(pictures).unflatten(0, (2, len(faces))))
    most, least = torch.stack(logits, dim=1)
    return most, least


# --- tables -------------------------------------------------------------------------------------------------


def faithfulness_tables(scores: Scores) -> list[Table]:
    """Runs and the nulls beside them by measure, in percent of probability."""
    first = scores[0]
    runs = [run for group in groups(scores) for run in group.runs]
    rows = []
    for run in runs:
        for name, figures in run["maps"].items():
            cells = (with_interval(figures[measure], figures[f"{measure}_interval"]) for measure in MEASURES)
            rows.append([run_label(run), name, *cells])
    notes = [
        "Mean probability of the explained class, in percent, over the shares of pixels removed [95% interval over "
        "faces]."
        + " Nulls: the same faces in an order that knows nothing of the model."
        * (len(rows) > len(runs)),
        *faces_counted(runs),
    ]
    return [
        Table(
            f"{first['explainer']} on {first['split']}, target {first['target']}: faithfulness",
            ["run", "map", *MEASURES.values()],
            rows,
            notes,
        )
    ]


def faithfulness_over_seeds(results: Results) -> list[Table]:
    """Conditions and the nulls beside them by measure, where a condition has several seeds."""
    rows = rows_of_seeds(results.scores)
    if not rows:
        return []
    first = results.scores[0]
    explainer = results.settings.request.key
    # a difference of probabilities, unlike the others, may be below 0
    scales = [UNBOUNDED if measure == "road" else PROPORTION for measure in MEASURES]
    cells = []
    for row in rows:
        # runs that were scored without nulls have none
        for name in [name for name in row.runs[0]["maps"] if all(name in run["maps"] for run in row.runs)]:
            measures = [
                itemgetter(measure if name == explainer else f"{measure}_{name}") for measure in MEASURES
            ]
            figures = seed_cells(row, results.columns, measures, results.clusters, scales)
            cells.append([row.label, row.seeds, name, *figures])
    return [
        Table(
            f"{first['explainer']} on {first['split']}, target {first['target']}: faithfulness, over seeds",
            ["model", "seeds", "map", *MEASURES.values()],
            cells,
            [NOTE],
        )
    ]


# --- the suite ----------------------------------------------------------------------------------------------


FAITHFULNESS = Suite(
    name="faithfulness",
    explains=True,
    score=lambda evaluated, settings: score_faithfulness(
        evaluated, settings.request, settings.target, nulls=settings.nulls, seed=settings.seed
    ),
    show=lambda results: ({}, [*faithfulness_over_seeds(results), *faithfulness_tables(results.scores)]),
    inputs=heatmap_files,
    recorded=lambda settings: (
        explainer_and_target(settings) | {"seed": settings.seed} | without_nulls(settings)
    ),
    revision=2,
)
