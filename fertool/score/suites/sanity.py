"""The suite `sanity`: does an explainer's map depend on what the network learned? Its weights are randomised.

Adebayo et al. 2018, 'Sanity Checks for Saliency Maps', section 3.1: from the logits down, layer by layer, weights
are replaced by those of a fresh random model of the same recipe, and the maps are compared with the trained
model's by Spearman's rank correlation over their cells. The class explained stays the one that the trained model
predicted. A map that is much the same without any learned weight says nothing about them.

The comparison is on a sample of faces, over several random models, since one random model's map can resemble
the trained one's by chance, and of two readings of a map: rectified, as shares are taken of it, and raw, with its
negative cells. Beside it stand what two null explanations get: `random` maps, and `swapped`, the trained model's
map of another face.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import nn

from fertool.explain.explainer import rectify
from fertool.explain.in_memory import unstored_heatmaps
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import Request
from fertool.models import FaceClassifier
from fertool.models.initial_model import initial_model
from fertool.models.structure.layers import layers_by_depth
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import run_label, with_interval
from fertool.score.statistics.intervals import mean_interval
from fertool.score.statistics.json_numbers import number_or_none, numbers_or_none
from fertool.score.statistics.scales import CORRELATION
from fertool.score.suites.input_files import explainer_and_target, model_files
from fertool.score.suites.suite import Results, Suite
from fertool.summary import Table

TARGET = "predicted"  # by the trained model: the class whose maps are compared
FACES = 500
DRAWS = 3  # random models
MOST_STEPS = 10  # how often maps are made on the way down; a small network's every layer

# A map hardly changes if, all weights random, its correlation with the trained model's is still at least half way
# from a random map's (0) to an unchanged one's (1), or if it is more like the trained model's map of the same face
# than the trained model's map of another face is, by this much: then it follows the picture without the weights.
# A `cnn` trained on FER2013: guided backprop (0.49 rectified, 0.75 raw; swapped 0.07, 0.02) is caught, as Adebayo et
# al. found; Grad-CAM (0.01; swapped 0.04) and the plain gradient (0.07; swapped 0.12) are not.
CHANGED_BELOW = 0.5
MOST_ABOVE_SWAPPED = 0.2

READINGS = ("rectified", "raw")
CHANGES = "yes"  # in the tables, where the maps of random weights are not those of the trained ones


@dataclass(frozen=True)
class MapSample:
    """An explainer's maps of some faces, read in both ways, and what others are compared with them by."""

    evaluated: EvaluatedRun
    request: Request
    rows: np.ndarray  # int64 (n,), of the faces in their split

    @cached_property
    def pictures(self) -> np.ndarray:
        """The faces, uint8 (n, H, W[, 3])."""
        return np.array(self.evaluated.faces[self.rows])

    @cached_property
    def original(self) -> dict[str, np.ndarray]:
        """The trained model's maps (n, h, w), by reading."""
        return self.maps_of(self.evaluated.model)

    @cached_property
    def empty(self) -> dict[str, np.ndarray]:
        """The trained model's maps that are empty, bool (n,), by reading."""
        return {reading: np.logical_not(maps.any(axis=(1, 2))) for reading, maps in self.original.items()}

    def maps_of(self, model: FaceClassifier) -> dict[str, np.ndarray]:
        """A model's maps of the classes that the trained model predicted, by reading."""
        evaluated = self.evaluated
        boxes = None if evaluated.boxes is None else evaluated.boxes[self.rows]
        classes = evaluated.predicted[self.rows]
        raw = unstored_heatmaps(model, self.request, self.pictures, evaluated.compute, classes, boxes)
        return {"rectified": rectify(raw, self.request.explainer.negatives), "raw": raw}

    def similarity(self, maps: np.ndarray, reading: str) -> np.ndarray:
        """Rank correlation with the trained model's maps, float64 (n,); nan where these are empty."""
        return np.where(self.empty[reading], np.nan, rank_correlation(self.original[reading], maps))

    def null_similarities(self) -> dict[str, dict[str, np.ndarray]]:
        """The similarity of the null maps' to the trained model's, by null and reading."""
        numbers = np.arange(len(self.rows))
        return {
            name: {
                reading: self.similarity(NULLS[name].make(self.pictures, numbers, maps), reading)
                for reading, maps in self.original.items()
            }
            for name in ("swapped", "random")
        }


def score_sanity(
    evaluated: EvaluatedRun, request: Request, faces: int = FACES, seed: int = 0, draws: int = DRAWS
) -> tuple[Figures, Columns]:
    """Similarity of an explainer's maps to the trained model's as weights are randomised.

    The run's model is left as it is: layers are randomised in copies of it. A map of the trained model's that is empty
    has nothing to change: it is counted and left out.

    Args:
        evaluated: the run and its faces.
        request: the explainer.
        faces: the size of the random sample of faces, at most.
        seed: seed of the sample and of the random models.
        draws: number of random models.

    Returns:
        Figures, among them `changes`: false where either reading of the map, all weights random, is too much like the
        trained model's (CHANGED_BELOW, MOST_ABOVE_SWAPPED), see `marked`. Columns: `similarity` of a face's rectified
        maps before and after all weights are random, nan outside the sample and for an empty map.
    """
    count = min(faces, len(evaluated.faces))
    rows = np.sort(np.random.default_rng(seed).permutation(len(evaluated.faces))[:count])
    sample = MapSample(evaluated, request, rows)
    groups = layers_by_depth(evaluated.model)
    names, steps = list(groups), _steps(len(groups))
    by_draw = _randomised(sample, list(groups.values()), steps, draws, seed)
    by_face = {reading: _mean_known(similarity) for reading, similarity in by_draw.items()}
    nulls, clusters = sample.null_similarities(), evaluated.clusters[rows]
    figures: Figures = {
        "explainer": request.key,
        "looks_at_target": request.looks_at_target,
        "faces": count,
        "seed": seed,
        "draws": draws,
        "empty": {reading: int(empty.sum()) for reading, empty in sample.empty.items()},
        "steps": [
            {
                "layer": names[step - 1] or "tokens and positions",
                "layers_random": step,
                "similarity": {reading: _figure(by_face[reading][number], clusters) for reading in READINGS},
                # pairs of a map and a random model's, one of which is constant
                "undefined": int(np.isnan(by_draw["rectified"][:, number]).sum()),
            }
            for number, step in enumerate(steps)
        ],
        "all_random_by_draw": {
            reading: [
                number_or_none(float(_mean_known(draw_similarity))) for draw_similarity in similarity[:, -1]
            ]
            for reading, similarity in by_draw.items()
        },
        "nulls": {
            name: {reading: _figure(similarity, clusters) for reading, similarity in by_reading.items()}
            for name, by_reading in nulls.items()
        },
        "changed_below": CHANGED_BELOW,
        "most_above_swapped": MOST_ABOVE_SWAPPED,
        "changes": all(
            changes(float(_mean_known(by_face[reading][-1])), float(_mean_known(nulls["swapped"][reading])))
            for reading in READINGS
        ),
    }
    column = np.full(len(evaluated.faces), np.nan)
    column[rows] = by_face["rectified"][-1]
    return figures, {"similarity": column}


def _randomised(
    sample: MapSample, layers: list[list[str]], steps: list[int], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Similarity (draws, steps, n) to the trained model's maps, by reading, as layers become random from the first."""
    evaluated = sample.evaluated
    by_draw = {reading: np.empty((draws, len(steps), len(sample.rows))) for reading in READINGS}
    title = f"{evaluated.run.name}: sanity of {sample.request.key}"
    with progress_bar(title, draws * len(steps), "steps") as bar:
        for draw in range(draws):
            model = copy.deepcopy(evaluated.model)
            fresh = initial_model(model.recipe, _model_seed(seed, draw), evaluated.compute.device)
            done = 0
            for number, step in enumerate(steps):
                for layer in chain.from_iterable(layers[done:step]):
                    randomise(model.layer(layer), fresh.layer(layer))
                done = step
                maps = sample.maps_of(model)
                for reading in READINGS:
                    by_draw[reading][draw, number] = sample.similarity(maps[reading], reading)
                bar.update(1)
    return by_draw


def changes(similarity: float, swapped: float) -> bool:
    """Whether a map counts as changed, given its similarity to the trained model's once all weights are random.

    `swapped` is how similar the trained model's maps of two faces are. A `similarity` of nan is that of a map which
    random models never have: it has changed.
    """
    above = similarity - max(np.nan_to_num(swapped), 0.0)
    return not (similarity >= CHANGED_BELOW or above > MOST_ABOVE_SWAPPED)


def marked(figures: Mapping[str, Any]) -> bool:
    """Whether an explainer with these figures of `score_sanity` has to carry a mark: its map hardly changes."""
    return not figures["changes"]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over the cells of maps (N, h, w), float64 (N,); ties share their mean rank.

    nan where one map is constant and has no ranks; 1 where both are: such a map has not changed.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(maps).reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [values - values.mean(axis=1, keepdims=True) for values in ranks]
    lengths = [np.linalg.norm(values, axis=1) for values in centred]
    length = lengths[0] * lengths[1]
    product = (centred[0] * centred[1]).sum(axis=1)
    correlation = np.divide(product, length, out=np.full(len(product), np.nan), where=length > 0)
    return np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, correlation)


def randomise(layer: nn.Module, fresh: nn.Module) -> None:
    """Give a layer the weights and statistics of its own that `fresh`, of the same kind, has."""
    with torch.no_grad():
        for own_tensors, fresh_tensors in (
            (layer.named_parameters(recurse=False), dict(fresh.named_parameters(recurse=False))),
            (layer.named_buffers(recurse=False), dict(fresh.named_buffers(recurse=False))),
        ):
            for name, values in own_tensors:
                values.copy_(fresh_tensors[name])


def _steps(layers: int) -> list[int]:
    """The numbers of random layers at which maps are made: only the logits' layer first, all of them last."""
    return np.unique(np.linspace(1, layers, min(layers, MOST_STEPS)).round().astype(int)).tolist()


def _model_seed(seed: int, draw: int) -> int:
    return int(np.random.SeedSequence([seed, draw]).generate_state(1)[0])


def _mean_known(values: np.ndarray) -> np.ndarray:
    """The mean along the first axis over what is not nan; nan where nothing is known."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.divide(
        np.where(known, values, 0).sum(axis=0), count, out=np.full(np.shape(count), np.nan), where=count > 0
    )


def _figure(similarity: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    (low,), (high,) = mean_interval(similarity, clusters)
    return {
        "mean": number_or_none(float(_mean_known(similarity))),
        "interval": numbers_or_none([low, high]),
    }


# --- tables -------------------------------------------------------------------------------------------------


def sanity_tables(scores: list[dict[str, Any]]) -> list[Table]:
    """Runs by how many layers are random, the nulls, and whether the map changes; a table for each depth."""
    tables = []
    for depth in dict.fromkeys(tuple(step["layer"] for step in run["steps"]) for run in scores):
        runs = [run for run in scores if tuple(step["layer"] for step in run["steps"]) == depth]
        tables.append(_sanity_table(runs))
    return tables


def _sanity_table(runs: list[dict[str, Any]]) -> Table:
    first = runs[0]
    notes = [
        f"Spearman's rank correlation with the trained model's map over {first['faces']:,} faces and "
        f"{first['draws']} random models [95% interval over faces], as layers become random from the logits down to "
        "the one named (Adebayo et al. 2018). Raw: the maps with their negative cells. Swapped: the trained model's "
        "maps of two different faces.",
        f"A map is marked, because it shows little of what was learned, if its correlation stays at "
        f"{first['changed_below']:g} or above once all layers are random, or more than "
        f"{first['most_above_swapped']:g} above that of swapped maps.",
    ]
    notes += [_empty_maps(run) for run in runs if any(run["empty"].values())]
    if not first["looks_at_target"]:
        notes.append(
            "The explainer does not look at the class, so the layer of the logits does not change its map."
        )
    return Table(
        f"{first['explainer']} on {first['split']}: similarity of maps as weights are randomised",
        [
            "run",
            "maps",
            *(step["layer"] for step in first["steps"]),
            *(f"null: {name}" for name in first["nulls"]),
            "map changes",
        ],
        [
            [
                run_label(run),
                reading,
                *(_cell(step["similarity"][reading]) for step in run["steps"]),
                *(_cell(figures[reading]) for figures in run["nulls"].values()),
                _verdict(run),
            ]
            for run in runs
            for reading in READINGS
        ],
        notes,
    )


def _verdict(run: Mapping[str, Any]) -> str:
    if marked(run):
        return "hardly: marked"
    return "-" if all(count == run["faces"] for count in run["empty"].values()) else CHANGES


def _empty_maps(run: Mapping[str, Any]) -> str:
    counts = " and ".join(f"{count:,} {reading}" for reading, count in run["empty"].items())
    return f"{run_label(run)}: {counts} maps of {run['faces']:,} faces are empty and are left out."


def _cell(figure: dict[str, Any]) -> str:
    return with_interval(figure["mean"], figure["interval"], scale=1, digits=2)


def sanity_over_seeds(results: Results) -> list[Table]:
    """Similarity once all layers are random, a row a condition, where one has several seeds."""
    rows = rows_of_seeds(results.scores)
    if not rows:
        return []
    first = results.scores[0]
    return [
        Table(
            f"{first['explainer']} on {first['split']}: similarity of maps once all weights are random, over seeds",
            ["model", "seeds", "similarity", "seeds whose maps change"],
            [
                [
                    row.label,
                    row.seeds,
                    *seed_cells(
                        row, results.columns, [itemgetter("similarity")], results.clusters, CORRELATION
                    ),
                    f"{sum(_verdict(run) == CHANGES for run in row.runs)} of {row.seeds}",
                ]
                for row in rows
            ],
            [NOTE, "A seed's maps change where the table by layers does not mark them."],
        )
    ]


# --- the suite ----------------------------------------------------------------------------------------------


SANITY = Suite(
    name="sanity",
    explains=True,
    score=lambda evaluated, settings: score_sanity(evaluated, settings.request, seed=settings.seed),
    show=lambda results: ({}, [*sanity_over_seeds(results), *sanity_tables(results.scores)]),
    inputs=model_files,
    recorded=lambda settings: explainer_and_target(settings, TARGET) | {"seed": settings.seed},
    revision=2,
    revision_of_views=3,
    only_target=TARGET,
    runs_explainer=True,
)
