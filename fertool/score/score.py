"""`fertool score`: predictions and heatmaps of runs -> figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from fertool.errors import UserError
from fertool.explain.heatmaps import ensure_heatmaps
from fertool.explain.registry import DEFAULT_EXPLAINER, parse_request
from fertool.explain.selection import explainable_runs
from fertool.explain.targets import check_target
from fertool.hardware import choose_compute
from fertool.masks.detection import TEMPLATE
from fertool.masks.regions import REGIONS
from fertool.score.attention import area_shares, region_ceilings, region_shares, region_weights
from fertool.score.classification import classification_scores
from fertool.score.tables import attention_tables, classification_tables
from fertool.summary import Summary
from fertool.workspace import Run, Workspace, read_json, write_csv, write_json

REVISION = 1  # of the figures: raise it when the same heatmaps and masks would give others


def score(
    workspace: Workspace,
    explainer: str = DEFAULT_EXPLAINER,
    *,
    runs: Sequence[str] = (),
    split: str = "test",
    target: str = "predicted",
    device: str = "auto",
    precision: str = "fp32",
    force: bool = False,
) -> Summary:
    """Score the classification and the attention of runs on a split; several runs become one table.

    Without `runs`, all finished runs that the explainer can explain; heatmaps that are missing are made
    first. Raises UserError for names that are none, and where faces, masks or runs are missing.
    """
    request = parse_request(explainer)
    workspace.check_split(split)
    check_target(target, workspace.dataset()["classes"])
    compute = choose_compute(device, precision)
    region_maps = workspace.load_region_maps(split)  # before any heatmap is made: an early word if missing
    classification, attention = [], []
    for run in explainable_runs(workspace, request, runs):
        (heatmaps,) = ensure_heatmaps(workspace, run, request, split, target, compute, force=force)
        record = {"run": run.name, "condition": run.config()["condition"], "split": split}
        classification.append(
            _kept(
                workspace,
                run.scores("classification", split),
                workspace.made_from(
                    REVISION,
                    record,
                    [run.predictions(split), workspace.faces_csv(split), workspace.faces_csv("train")],
                ),
                lambda place, run=run: _score_classification(workspace, run, split, place),
                force,
            )
        )
        attention.append(
            _kept(
                workspace,
                run.scores("attention", split, request.key, target),
                workspace.made_from(
                    REVISION,
                    record
                    | {
                        "explainer": request.key,
                        "target": target if request.looks_at_target else "ignored",
                        "negatives": heatmaps.negatives,
                    },
                    [
                        heatmaps.place,
                        workspace.region_maps(split),
                        workspace.landmarks(split),
                        workspace.faces_csv(split),
                    ],
                ),
                lambda place, heatmaps=heatmaps: _score_attention(
                    workspace, split, heatmaps.rectified(), region_maps, place
                ),
                force,
            )
        )
    return Summary(
        data={"split": split, "classification": classification, "attention": attention},
        tables=[*classification_tables(classification), *attention_tables(attention)],
    )


def _kept(
    workspace: Workspace,
    place: Path,
    made_from: dict[str, Any],
    make: Callable[[Path], dict[str, Any]],
    force: bool,
) -> dict[str, Any]:
    """The figures at `place`, made now unless they are up to date; their settings stand beside them."""
    if force or not workspace.is_current(place, made_from, [place.with_suffix(".csv")]):
        write_json(place, {**made_from["settings"], **make(place), "made_from": made_from})
    return read_json(place)


def _score_classification(workspace: Workspace, run: Run, split: str, place: Path) -> dict[str, Any]:
    classes = workspace.dataset()["classes"]
    with np.load(run.predictions(split)) as stored:
        logits, labels = stored["logits"], stored["labels"]
    if logits.shape != (len(workspace.load_labels(split)), len(classes)):
        raise UserError(
            f"{run.predictions(split)}: logits of shape {logits.shape} do not fit '{split}'; remove the file"
        )
    predicted = logits.argmax(axis=1)
    clean = ~_has_twin_in_train(workspace, split)
    scores = classification_scores(predicted, labels, classes)
    scores["without_twins_in_train"] = classification_scores(predicted[clean], labels[clean], classes)
    confidence = softmax(logits, axis=1).max(axis=1)
    write_csv(
        place.with_suffix(".csv"),
        ["row", "label", "predicted", "correct", "confidence", "twin_in_train"],
        zip(
            range(len(labels)),
            labels,
            predicted,
            (predicted == labels).astype(int),
            confidence.round(6),
            (~clean).astype(int),
            strict=True,
        ),
    )
    return scores


def _has_twin_in_train(workspace: Workspace, split: str) -> np.ndarray:
    groups = workspace.load_twin_groups(split)
    if split == "train":
        return np.zeros(len(groups), dtype=bool)
    in_train = workspace.load_twin_groups("train")
    return np.isin(groups, in_train[in_train >= 0])


def _score_attention(
    workspace: Workspace, split: str, heatmaps: np.ndarray, region_maps: np.ndarray, place: Path
) -> dict[str, Any]:
    labels = workspace.load_labels(split)
    classes = workspace.dataset()["classes"]
    with np.load(workspace.landmarks(split)) as stored:
        # a template's regions lie where faces mostly are, not where this one is
        located = stored["detector"] != TEMPLATE
    grid = heatmaps.shape[1:]
    weights = region_weights(region_maps, grid)
    shares = region_shares(heatmaps, weights)
    areas = area_shares(region_maps)
    ceilings = region_ceilings(weights)
    empty = np.isnan(shares[:, 0])
    counted = located & ~empty

    figures = {
        "grid": list(grid),
        "faces": len(labels),
        "left_out": {
            "landmarks of the template": int((~located).sum()),
            "an empty map": int((located & empty).sum()),
        },
        "overall": _region_figures(shares, areas, ceilings, counted),
        "per_class": {
            name: _region_figures(shares, areas, ceilings, counted & (labels == code))
            for code, name in enumerate(classes)
        },
    }
    write_csv(
        place.with_suffix(".csv"),
        ["row", "label", "counted", *(f"share_{_column(name)}" for name in REGIONS)],
        (
            [row, labels[row], int(counted[row]), *(f"{share:.6f}" for share in shares[row])]
            for row in range(len(labels))
        ),
    )
    return figures


def _region_figures(
    shares: np.ndarray, areas: np.ndarray, ceilings: np.ndarray, counted: np.ndarray
) -> dict[str, Any] | None:
    """Means over the counted faces. Lift is the mean share over the mean area: 1 for a uniform map."""
    if not counted.any():
        return None
    share, area, ceiling = (values[counted].mean(axis=0) for values in (shares, areas, ceilings))
    return {
        "faces": int(counted.sum()),
        "share": dict(zip(REGIONS, share.tolist(), strict=True)),
        "area": dict(zip(REGIONS, area.tolist(), strict=True)),
        "lift": {
            name: float(share[code] / area[code]) if area[code] > 0 else None
            for code, name in enumerate(REGIONS)
        },
        "ceiling": dict(zip(REGIONS, ceiling.tolist(), strict=True)),
    }


def _column(region: str) -> str:
    return region.replace(" ", "_")
