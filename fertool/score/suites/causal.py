"""The suite `causal`: the worth of each region of the face to a run's answer, found by covering it.

The six regions of each face play a cooperative game: the value of a coalition is the network's output on the face
with all other regions covered. All 64 coalitions are computed, so the regions' Shapley values are
exact, and so are the interactions between pairs of them. Three values are taken: the logit of a class; whether
the face is recognised, which averages to accuracy; and whether the answer is the one that the network gives with
all regions seen, right or wrong. Only the last takes no side: a region that misleads is worth less than nothing
to accuracy, and yet the answers rest on it. Every way of covering (see `fills`) gives its own figures,
and how far they agree stands beside them.
"""

from collections.abc import Sequence
from itertools import combinations
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fertool.masks.regions import BACKGROUND, REGIONS
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.batched_forward import Network
from fertool.score.perturbations.fills import FILLS, Donors, check_fills, fill_pictures, load
from fertool.score.perturbations.number_format import network_of
from fertool.score.results.face_csv import region_column
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import Scores, groups, percent, run_label, said_of_runs, with_interval
from fertool.score.statistics.intervals import Resampled, resample_means
from fertool.score.statistics.json_numbers import named, named_intervals, number_or_none, with_intervals
from fertool.score.statistics.scales import UNBOUNDED
from fertool.score.statistics.shapley import (
    ALL_SEEN,
    COALITIONS,
    NOTHING_SEEN,
    PAIRS,
    SEEN,
    interaction_matrix,
    shapley_matrix,
    variance_of_coalitions,
)
from fertool.score.suites.input_files import model_files
from fertool.score.suites.suite import Results, Suite
from fertool.summary import Table

BLOCK_FACES = 64  # covered, or laid over, together
FACES_AT_ONCE = 8  # in all coalitions
PAIRS_SHOWN = 5  # of the regions, those that interact most
SWAP_LOSS_COLUMN, SWAP_CHANGED_COLUMN = "swap_loss", "swap_changed"
CAUSAL_TARGETS = ("label", "predicted")  # whose logit is played for, a face's row in the CSV holding both


def score_causal(
    evaluated: EvaluatedRun, *, fills: Sequence[str] = FILLS, seed: int = 0
) -> tuple[Figures, Columns]:
    """Shapley values of the regions, their interactions, and what a run loses with its background.

    Figures are of the label's logit, of accuracy and of the answer, which is kept or not. Columns hold each
    face's Shapley values, by fill and region, for the label's logit, the predicted class's, for being recognised
    and for the answer (`cause_column` names them), and what another face's background does: what the face loses
    of being recognised (SWAP_LOSS_COLUMN: 1, 0 or -1), and whether its answer changes (SWAP_CHANGED_COLUMN: 1 or
    0); nan for faces whose landmarks are the template's, which are left out. Other faces that are pasted in are
    drawn by `seed`; where there are no two different faces the background is not swapped, and its figures are None.
    Raises UserError for a fill that is none, where no face has landmarks, and where `paste` is asked for and there
    are no two different faces.
    """
    check_fills(fills)
    rows = evaluated.located_rows()
    labels, clusters = evaluated.labels[rows], evaluated.clusters[rows]
    others_there = len(np.unique(clusters)) > 1
    donors = Donors.draw(evaluated, seed) if others_there or "paste" in fills else None
    background, swaps = (
        _background_figures(evaluated, rows, donors, seed) if donors is not None else (None, {})
    )
    figures: Figures = {
        "faces": len(evaluated.labels),
        "counted": len(rows),
        "left_out": {"landmarks of the template": int((~evaluated.located).sum())},
        "seed": seed,
        "background": background,
        "fills": {},
    }
    columns: Columns = {}

    def keep(name: str, row_values: np.ndarray) -> None:
        columns[name] = np.full(len(evaluated.labels), np.nan)
        columns[name][rows] = row_values

    for name, row_values in swaps.items():
        keep(name, row_values)
    weights: dict[str, np.ndarray] = {}
    for fill in fills:
        logits = _coalition_logits(evaluated, rows, fill, donors, seed)
        answers = logits.argmax(axis=2)
        games = {
            "label": _class_games(logits, labels),
            "predicted": _class_games(logits, evaluated.predicted[rows]),
            "correct": (answers == labels).astype(np.float64),
            "answer": (answers == answers[ALL_SEEN]).astype(np.float64),
        }
        values = {name: (shapley_matrix() @ game).T for name, game in games.items()}
        weights[fill] = values["label"]
        for name, face_values in values.items():
            for code, region in enumerate(REGIONS):
                keep(cause_column(name, fill, region), face_values[:, code])
        figures["fills"][fill] = {
            "logit": _game_figures(games["label"], clusters),
            "accuracy": _game_figures(games["correct"], clusters),
            "answer": _game_figures(games["answer"], clusters),
        }
    figures["agreement_of_fills"] = {
        f"{one} and {other}": _correlation_by_face(weights[one], weights[other])
        for one, other in combinations(fills, 2)
    }
    return figures, columns


def cause_column(target: str, fill: str, region: str) -> str:
    """The column with a region's Shapley values: `target` is label, predicted (their logits), correct or answer."""
    return region_column(f"shapley_{target}_{fill}", region)


def causes_of(columns: Columns, target: str, fill: str) -> np.ndarray:
    """The Shapley values of the faces, float64 (N, 6), out of `score_causal`'s columns."""
    return np.stack(
        [np.asarray(columns[cause_column(target, fill, region)], np.float64) for region in REGIONS], axis=1
    )


# --- coalitions ---------------------------------------------------------------------------------------------


def coalition_logits(network: Network, faces: Tensor, covers: Tensor, region_maps: Tensor) -> Tensor:
    """Logits (64, B, C) of faces with the regions outside each coalition taken from their `covers`.

    Faces and covers are (B, H, W) or (B, H, W, 3), region maps uint8 (B, H, W).
    """
    seen = torch.from_numpy(SEEN).to(faces.device)[:, region_maps.long()]
    seen = seen[..., None] if faces.ndim == 4 else seen
    pictures = torch.where(seen, faces, covers)
    return network(pictures.flatten(0, 1)).unflatten(0, (COALITIONS, len(faces)))


def _coalition_logits(
    evaluated: EvaluatedRun, rows: np.ndarray, fill: str, donors: Donors | None, seed: int
) -> np.ndarray:
    network_on = network_of(evaluated)
    logits = np.empty((COALITIONS, len(rows), len(evaluated.classes)), np.float32)
    with progress_bar(f"{evaluated.run.name}: causal, {fill}", len(rows), "faces") as bar:
        for start in range(0, len(rows), BLOCK_FACES):
            block = rows[start : start + BLOCK_FACES]
            faces, regions = load(evaluated, block), _regions(evaluated, block)
            covers = fill_pictures(fill, evaluated, block, donors, seed)
            for first in range(0, len(block), FACES_AT_ONCE):
                few = slice(first, first + FACES_AT_ONCE)
                network = network_on(block[few])
                few_logits = coalition_logits(network, faces[few], covers[few], regions[few])
                place = start + first
                logits[:, place : place + few_logits.shape[1]] = few_logits.cpu().numpy()
            bar.update(len(block))
    return logits


def _regions(evaluated: EvaluatedRun, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(evaluated.region_maps[rows])).to(evaluated.compute.device)


def _class_games(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The games (64, N) for the logit of each face's class."""
    return logits[:, np.arange(logits.shape[1]), classes].astype(np.float64)


# --- figures ------------------------------------------------------------------------------------------------


def _game_figures(games: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """Means over faces of games (64, N), with 95% intervals; holism is a ratio of means."""
    values = (shapley_matrix() @ games).T
    interactions = (interaction_matrix() @ games).T
    total, beyond_additive = variance_of_coalitions(games)
    ends = games[[ALL_SEEN, NOTHING_SEEN]].T
    players, pairs = len(REGIONS), len(PAIRS)
    means = resample_means(np.column_stack([values, interactions, ends, beyond_additive, total]), clusters)

    def part(start: int, count: int) -> Resampled:
        return means.apply(lambda values: values[..., start : start + count])

    shapley, interaction = part(0, players), part(players, pairs)
    holism = means.apply(lambda values: values[..., -2:-1] / values[..., -1:])
    all_seen, nothing_seen = part(players + pairs, 2).figures
    pair_names = [f"{REGIONS[one]} and {REGIONS[other]}" for one, other in PAIRS]
    return {
        "all_seen": number_or_none(all_seen),
        "nothing_seen": number_or_none(nothing_seen),
        "shapley": named(REGIONS, shapley),
        "shapley_interval": named_intervals(REGIONS, shapley),
        "interaction": named(pair_names, interaction),
        "interaction_interval": named_intervals(pair_names, interaction),
        **with_intervals(["holism"], holism),
    }


def _background_figures(
    evaluated: EvaluatedRun, rows: np.ndarray, donors: Donors, seed: int
) -> tuple[dict[str, Any], Columns]:
    """Accuracy, the label's logit and the answer before and after another face's background stands behind the face.

    With them the columns of `score_causal` that a swap has, for `rows`.
    """
    before, after = [], []
    network_on = network_of(evaluated)
    for start in range(0, len(rows), BLOCK_FACES):
        block = rows[start : start + BLOCK_FACES]
        faces = load(evaluated, block)
        behind = _regions(evaluated, block) == BACKGROUND
        behind = behind[..., None] if faces.ndim == 4 else behind
        swapped = torch.where(behind, fill_pictures("paste", evaluated, block, donors, seed), faces)
        network = network_on(block)
        before.append(network(faces).cpu().numpy())
        after.append(network(swapped).cpu().numpy())
    labels, clusters = evaluated.labels[rows], evaluated.clusters[rows]
    logits = np.concatenate(before), np.concatenate(after)
    changed = (logits[0].argmax(axis=1) != logits[1].argmax(axis=1)).astype(np.float64)
    figures: dict[str, Any] = {"answer": with_intervals(["changed"], resample_means(changed, clusters))}
    losses: dict[str, np.ndarray] = {}
    for name, measure in (
        ("accuracy", lambda logits: (logits.argmax(axis=1) == labels).astype(np.float64)),
        ("logit", lambda logits: logits[np.arange(len(labels)), labels].astype(np.float64)),
    ):
        own, other = map(measure, logits)
        losses[name] = own - other
        names = ["own", "swapped", "loss"]
        means = resample_means(np.column_stack([own, other, losses[name]]), clusters)
        figures[name] = named(names, means) | {"loss_interval": named_intervals(names, means)["loss"]}
    return figures, {SWAP_LOSS_COLUMN: losses["accuracy"], SWAP_CHANGED_COLUMN: changed}


def _correlation_by_face(one: np.ndarray, other: np.ndarray) -> float | None:
    """The mean over faces of the correlation over regions between two (N, 6)."""
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (one, other))
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    known = size > 0
    return number_or_none(((one * other).sum(axis=1)[known] / size[known]).mean()) if known.any() else None


# --- tables -------------------------------------------------------------------------------------------------


def causal_tables(scores: Scores) -> list[Table]:
    """Worth of each region to the label's logit, to accuracy and to the answer, a row a run and fill; then pairs."""
    runs = [run for group in groups(scores) for run in group.runs]
    first = runs[0]
    notes = [
        "Shapley values over all 64 coalitions of covered and uncovered regions, mean over faces [95% interval]. A row "
        "adds up to the loss when every region is covered. Holism: the part of the variance over coalitions that no "
        "sum "
        "over regions explains (0: each region counts by itself).",
        *said_of_runs(
            {
                run_label(run): "left out "
                + ", ".join(
                    f"{count:,} of {run['faces']:,} faces ({why})" for why, count in run["left_out"].items()
                )
                + _fills_in_words(run)
                for run in runs
            }
        ),
    ]
    return [
        _weights_table(
            runs, "logit", f"causes on {first['split']}: worth of each region to the label's logit", notes
        ),
        _weights_table(
            runs, "accuracy", f"causes on {first['split']}: worth of each region to accuracy, in points"
        ),
        _weights_table(
            runs,
            "answer",
            f"causes on {first['split']}: how far the answers rest on each region, in % of the faces",
            [
                "The game counts the faces whose answer, right or wrong, stays the one that they get with all regions "
                "seen: a scale that all networks share. A region that misleads is worth less than nothing to accuracy, "
                "and yet the answers rest on it."
            ],
        ),
        _interaction_table(runs),
        _background_table(runs),
    ]


def weights_over_seeds(results: Results) -> list[Table]:
    """Worth of each region to accuracy and to the answer, a row a condition and fill, where one has several seeds."""
    rows = rows_of_seeds(results.scores)
    if not rows:
        return []
    split = results.scores[0]["split"]

    def table(title: str, column: str) -> Table:
        cells = []
        for row in rows:
            for fill in [fill for fill in FILLS if all(fill in run["fills"] for run in row.runs)]:
                weights = [itemgetter(cause_column(column, fill, region)) for region in REGIONS]
                figures = seed_cells(row, results.columns, weights, results.clusters, UNBOUNDED)
                cells.append([row.label, row.seeds, fill, *figures])
        return Table(
            f"causes on {split}, over seeds: {title}", ["model", "seeds", "fill", *REGIONS], cells, [NOTE]
        )

    return [
        table("worth of each region to accuracy, in points", "correct"),
        table("how far the answers rest on each region, in % of the faces", "answer"),
    ]


def _fills_in_words(run: dict[str, Any]) -> str:
    agreements = [
        f"{pair} {value:.2f}" for pair, value in run["agreement_of_fills"].items() if value is not None
    ]
    return (
        f". Fills agree by face (correlation over regions): {', '.join(agreements)}." if agreements else "."
    )


def _scaled(game: str) -> dict[str, Any]:
    return {"scale": 1, "digits": 2} if game == "logit" else {}


def _weights_table(runs: Scores, game: str, title: str, notes: Sequence[str] = ()) -> Table:
    rows = []
    for run in runs:
        for fill, fill_figures in run["fills"].items():
            figures = fill_figures[game]
            scale, digits = (1, 2) if game == "logit" else (100, 1)
            ends = (f"{scale * figures[end]:.{digits}f}" for end in ("all_seen", "nothing_seen"))
            weights = (
                with_interval(figures["shapley"][name], figures["shapley_interval"][name], **_scaled(game))
                for name in REGIONS
            )
            # a ratio to nothing on some resamples of the faces is not to be read
            known = None not in figures["holism_interval"]
            holism = with_interval(figures["holism"] if known else None, figures["holism_interval"])
            rows.append([run_label(run), fill, *weights, *ends, holism])
    return Table(title, ["run", "fill", *REGIONS, "all seen", "all covered", "holism, %"], rows, list(notes))


def _interaction_table(runs: Scores) -> Table:
    """The pairs that interact most, under each fill, for the label's logit."""
    rows = []
    for run in runs:
        for fill, fill_figures in run["fills"].items():
            worth, intervals = (
                fill_figures["logit"]["interaction"],
                fill_figures["logit"]["interaction_interval"],
            )
            largest = sorted(worth, key=lambda pair: -abs(worth[pair] or 0))[:PAIRS_SHOWN]
            cells = (
                f"{pair}: {with_interval(worth[pair], intervals[pair], **_scaled('logit'))}"
                for pair in largest
            )
            rows.append([run_label(run), fill, *cells])
    return Table(
        "largest interactions of two regions, label's logit",
        ["run", "fill", *(f"{place}." for place in range(1, PAIRS_SHOWN + 1))],
        rows,
        [
            "Shapley interaction index: above 0 the two regions are worth more together than apart, below 0 one "
            "stands in "
            "for the other."
        ],
    )


def _background_table(runs: Scores) -> Table:
    rows = []
    for run in runs:
        if run["background"] is None:
            rows.append([run_label(run), *5 * ["-"]])
            continue
        accuracy, logit = run["background"]["accuracy"], run["background"]["logit"]
        answer = run["background"]["answer"]
        rows.append(
            [
                run_label(run),
                percent(accuracy["own"]),
                percent(accuracy["swapped"]),
                with_interval(accuracy["loss"], accuracy["loss_interval"]),
                with_interval(logit["loss"], logit["loss_interval"], **_scaled("logit")),
                with_interval(answer["changed"], answer["changed_interval"]),
            ]
        )
    return Table(
        f"dependence on the background on {runs[0]['split']}",
        [
            "run",
            "accuracy",
            "another background",
            "points lost",
            "label's logit lost",
            "answers changed, %",
        ],
        rows,
        [
            "Each face stands before the background of another face, drawn by seed, in its own light. Answers changed: "
            "share of all faces, whether the answer was right or wrong."
        ],
    )


# --- the suite ----------------------------------------------------------------------------------------------


CAUSAL = Suite(
    name="causal",
    explains=False,
    score=lambda evaluated, settings: score_causal(evaluated, fills=settings.fills, seed=settings.seed),
    show=lambda results: ({}, [*weights_over_seeds(results), *causal_tables(results.scores)]),
    inputs=model_files,
    recorded=lambda settings: {"fills_asked": list(settings.fills), "seed": settings.seed},
    revision=3,
    needs_landmarks=True,
)
