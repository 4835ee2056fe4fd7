"""The suite `robustness-attention`: where an explainer's maps lie on spoilt faces.

The shares of the regions under every corruption of `score.corruptions`, at five severities, beside those on the clean
face. Region maps move with a picture that is turned or shifted, so a map that follows the face has not moved.
"""

from operator import itemgetter
from typing import Any

import numpy as np
import torch

from fertool.explain.explainer import rectify
from fertool.explain.in_memory import unstored_heatmaps
from fertool.explain.registry import Request
from fertool.masks.regions import REGIONS
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    corrupt,
    faces_at_once,
    move_boxes,
    move_region_maps,
)
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import Scores, percent, run_label
from fertool.score.statistics.json_numbers import mean_known, mean_or_none
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.input_files import explainer_and_target, model_files
from fertool.score.suites.shares import shares_and_ceilings
from fertool.score.suites.suite import Results, Suite
from fertool.score.suites.suite_inputs import cam_layers, explained_classes
from fertool.summary import Table

FACES = 1000


def score_robustness_attention(
    evaluated: EvaluatedRun, request: Request, target: str, *, faces: int = FACES, seed: int = 0
) -> tuple[Figures, Columns]:
    """Shares of the regions on clean and on spoilt faces, and how far they move.

    Args:
        evaluated: the run and its faces.
        request: the explainer.
        target: the class that is explained: predicted (for the picture shown, clean or spoilt), label, or a class by
            its name.
        faces: the size of the random sample, at most, of the faces whose landmarks were found. Default: 1000.
        seed: seed of the sample and of the corruptions. Default: 0.

    Returns:
        Figures. Columns: `moved_<corruption>`, (N,), the share of a face's attention that lies elsewhere than on the
        clean face (half the sum of the differences between the two faces' shares), mean over the severities; nan
        outside the sample and where a map is empty.

    Raises:
        UserError: target `all`, or no face has landmarks.
    """
    sample = np.sort(np.random.default_rng(seed).permutation(evaluated.located_rows())[:faces])
    pictures, region_maps = np.array(evaluated.faces[sample]), np.array(evaluated.region_maps[sample])
    landmarks, rows = torch.from_numpy(evaluated.landmarks[sample]), torch.from_numpy(sample)
    codes = None if target == "predicted" else explained_classes(evaluated, target)[sample]
    boxes = None if evaluated.boxes is None else evaluated.boxes[sample]

    def shares_of(faces: np.ndarray, regions: np.ndarray, boxes: np.ndarray | None) -> np.ndarray:
        raw = unstored_heatmaps(evaluated.model, request, faces, evaluated.compute, codes, boxes)
        (shares,), _ = shares_and_ceilings([rectify(raw, request.explainer.negatives)], regions)
        return shares

    clean = shares_of(pictures, region_maps, boxes)
    figures: Figures = {
        "faces": len(sample),
        "seed": seed,
        "clean": _share_figures([clean]),
        "corruptions": {},
    }
    columns: Columns = {}
    total = len(sample) * len(CORRUPTIONS) * SEVERITIES
    with progress_bar(f"{evaluated.run.name}: {request.key} on spoilt faces", total, "faces") as bar:
        for name, corruption in CORRUPTIONS.items():
            levels = []
            for level in range(1, SEVERITIES + 1):
                spoilt = _in_batches(corruption, level, pictures, landmarks, rows, seed)
                moved = move_region_maps(corruption, level, torch.from_numpy(region_maps), rows, seed)
                moved_boxes = (
                    None
                    if boxes is None
                    else move_boxes(
                        corruption,
                        level,
                        torch.from_numpy(boxes),
                        (spoilt.shape[1], spoilt.shape[2]),
                        rows,
                        seed,
                    ).numpy()
                )
                levels.append(shares_of(spoilt, moved.numpy(), moved_boxes))
                bar.update(len(sample))
            elsewhere = [np.abs(shares - clean).sum(axis=1) / 2 for shares in levels]
            figures["corruptions"][name] = {
                **_share_figures(levels),
                "moved": [mean_or_none(level_shares[~np.isnan(level_shares)]) for level_shares in elsewhere],
            }
            column = np.full(len(evaluated.labels), np.nan)
            column[sample] = np.mean(elsewhere, axis=0)
            columns[f"moved_{name}"] = column
    return figures, columns


def _in_batches(
    corruption: Corruption,
    level: int,
    faces: np.ndarray,
    landmarks: torch.Tensor,
    rows: torch.Tensor,
    seed: int,
) -> np.ndarray:
    spoilt = np.empty_like(faces)
    size = faces_at_once(faces)
    for start in range(0, len(faces), size):
        part = slice(start, start + size)
        batch = torch.from_numpy(faces[part])
        spoilt[part] = corrupt(corruption, level, batch, landmarks[part], rows[part], seed).numpy()
    return spoilt


def _share_figures(levels: list[np.ndarray]) -> dict[str, Any]:
    """Means of shares (N, 6) over the faces whose map is not empty, a value a severity."""
    known = [~np.isnan(shares[:, 0]) for shares in levels]
    return {
        "share": {
            region: [mean_or_none(shares[there, code]) for shares, there in zip(levels, known, strict=True)]
            for code, region in enumerate(REGIONS)
        },
        "empty": [int((~there).sum()) for there in known],
    }


# --- tables -------------------------------------------------------------------------------------------------


def robustness_attention_tables(scores: Scores) -> list[Table]:
    """A table a run: the shares of the regions by corruption, below those on clean faces."""
    return [_attention_table(run) for run in scores]


def _attention_table(run: dict[str, Any]) -> Table:
    clean = (percent(run["clean"]["share"][region][0]) for region in REGIONS)
    rows = [["clean", *clean, "", str(run["clean"]["empty"][0])]]
    for name, figures in run["corruptions"].items():
        shares = [percent(mean_known(figures["share"][region])) for region in REGIONS]
        rows.append([name, *shares, percent(mean_known(figures["moved"])), str(sum(figures["empty"]))])
    return Table(
        f"{run_label(run)}: {run['explainer']} on spoilt faces of {run['split']}, target {run['target']}",
        ["corruption", *REGIONS, "moved", "empty maps"],
        rows,
        [
            f"Share of each region, mean over {run['faces']:,} faces with landmarks and five severities. Moved: the "
            "share of the heat that lies on another region than on the clean face.",
            *cam_layers([run]),
        ],
    )


def moved_over_seeds(results: Results) -> list[Table]:
    """How far heat moves under each corruption, a row a condition, where one has several seeds."""
    rows = rows_of_seeds(results.scores)
    if not rows:
        return []
    first = results.scores[0]
    measures = [itemgetter(f"moved_{name}") for name in first["corruptions"]]
    return [
        Table(
            f"{first['explainer']} on spoilt faces of {first['split']}, target {first['target']}: heat that moves, "
            "over seeds",
            ["model", "seeds", *first["corruptions"]],
            [
                [
                    row.label,
                    row.seeds,
                    *seed_cells(row, results.columns, measures, results.clusters, PROPORTION),
                ]
                for row in rows
            ],
            ["The share of the heat that lies on another region than on the clean face.", NOTE],
        )
    ]


# --- the suite ----------------------------------------------------------------------------------------------


ROBUSTNESS_ATTENTION = Suite(
    name="robustness-attention",
    explains=True,
    score=lambda evaluated, settings: score_robustness_attention(
        evaluated, settings.request, settings.target, seed=settings.seed
    ),
    show=lambda results: ({}, [*moved_over_seeds(results), *robustness_attention_tables(results.scores)]),
    inputs=model_files,
    recorded=lambda settings: explainer_and_target(settings) | {"seed": settings.seed},
    revision_of_views=2,
    runs_explainer=True,
    needs_landmarks=True,
)
