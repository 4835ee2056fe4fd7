"""A sweep over lambda for people and for scripts: tables, words, a record."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fertool.score.gather import find_stored, outdated_notes
from fertool.score.guidance.effects import (
    ACCURACIES,
    LOGITS,
    MAPS,
    MODEL,
    SHARE_OF_ALL,
    Estimate,
    Estimates,
    Guidance,
    Kind,
    Measure,
    Outcome,
    gather_guidance,
)
from fertool.score.guidance.verdict import signed, verdicts_of
from fertool.score.results.tables import with_interval
from fertool.score.statistics.json_numbers import number_or_none, numbers_or_none
from fertool.summary import Summary, Table
from fertool.workspace import Run, Workspace


def guidance_tables(guidance: Guidance) -> list[Table]:
    """Figures of the model and of its maps over lambda, their differences from lambda 0 and placebo; then the rest."""
    measures: dict[str, list[Measure]] = {}
    for measure in guidance.shown:
        measures.setdefault(measure.table, []).append(measure)
    return [
        Table(
            f"guidance on {guidance.split}, {guidance.sweep.name}: {title}",
            ["lambda, masks", "seeds", *(measure.column for measure in table_measures)],
            _rows(guidance.outcomes, table_measures),
            _notes(guidance, title),
            detail=title not in (MODEL, MAPS),
        )
        for title, table_measures in measures.items()
    ]


def _notes(guidance: Guidance, title: str) -> list[str]:
    if title == MAPS:
        all_maps_note = (
            "Share of all maps: an empty map counts as lying wholly on the background, as it does where lambda is "
            "chosen. "
        )
        return [
            f"Guided by {guidance.sweep.explainer}. Share: the background's, of each run over the faces whose map is "
            f"not empty. {all_maps_note if _shows(guidance, SHARE_OF_ALL) else ''}ROAD: faithfulness, higher is better."
        ]
    if title == ACCURACIES:
        return [
            "Points of accuracy that the background is worth, by each way of covering it and before another face's: "
            "above 0 "
            "where it helps, below 0 where it misleads. A model that turns away from it comes nearer to 0 from either "
            "side, so nothing is concluded from these."
        ]
    if title == LOGITS:
        return ["Networks do not share a scale of logits: nothing is concluded from these."]
    if title != MODEL:
        return []
    placebo = (
        " Less shuffled: the figure with own masks less that with shuffled masks at the same lambda, the effect of a "
        "face's own masks beyond those of another face."
    )
    with_placebo = any(outcome.beyond_placebo for outcome in guidance.outcomes)
    notes = [
        "Means [95% interval over images and, where there are several, over seeds], and below each its change from "
        f"lambda 0.{placebo if with_placebo else ''} Each interval is for one comparison; their number is not corrected"
        " for. A dash: not stored for every seed.",
        "mCE: 100% is the mean error at lambda 0. Causal weight: how far the answers, right or wrong, rest on the "
        "background; its Shapley value by each way of covering, in % of the faces. Causal part: that weight in % of "
        "the "
        "weight of all six regions; where it does not fall with the weight, answers rest less on everything. Changed "
        "by "
        "swap: % of the faces whose answer changes before another face's background.",
    ]
    if all(len(outcome.condition.runs) == 1 for outcome in guidance.outcomes):
        notes.append("One seed each: this table compares networks, not methods.")
    two = [outcome.condition.name for outcome in guidance.outcomes if len(outcome.condition.runs) == 2]
    if two:
        notes.append(
            f"{', '.join(two)}: two seeds. Two numbers tell next to nothing of how far seeds spread, so neither do the "
            "intervals."
        )
    if guidance.sweep.repeated:
        names = ", ".join(guidance.sweep.repeated)
        notes.append(f"Left out, because their condition has a run of the same seed already: {names}.")
    return notes


def _shows(guidance: Guidance, kind: Kind) -> bool:
    return any(measure.kind is kind for measure in guidance.shown)


def _rows(outcomes: Sequence[Outcome], measures: Sequence[Measure]) -> list[list[str]]:
    rows = []
    for outcome in outcomes:
        cells = (_cell(outcome.figures[measure.name], measure.kind) for measure in measures)
        rows.append([outcome.condition.name, str(len(outcome.condition.runs)), *cells])
        for called, differences in (("change", outcome.change), ("less shuffled", outcome.beyond_placebo)):
            if differences:
                cells = (_change_cell(differences[measure.name], measure.kind) for measure in measures)
                rows.append([f"  {called}", "", *cells])
    return rows


def _cell(estimate: Estimate, kind: Kind) -> str:
    return with_interval(estimate.value, _limits(estimate), scale=kind.scale, digits=kind.digits)


def _change_cell(estimate: Estimate, kind: Kind) -> str:
    if estimate.direction is None:
        return f"{kind.scale * estimate.value:+.{kind.digits}f}" if np.isfinite(estimate.value) else "-"
    return signed(estimate, kind)


def guidance_record(guidance: Guidance) -> dict[str, Any]:
    """The figures, their differences and what they say, as JSON has them; None where there is no number."""
    return {
        "sweep": guidance.sweep.name,
        "explainer": guidance.sweep.explainer,
        "conditions": [
            {
                "lambda": outcome.condition.weight,
                "masks": outcome.condition.masks,
                "runs": [run.name for run in outcome.condition.runs],
                "figures": _record(outcome.figures, guidance.measures),
                "change": _record(outcome.change, guidance.measures),
                "beyond_placebo": _record(outcome.beyond_placebo, guidance.measures),
            }
            for outcome in guidance.outcomes
        ],
        "verdicts": [
            {"lambda": verdict.weight, "moved": verdict.moved, "sentences": verdict.sentences}
            for verdict in verdicts_of(guidance)
        ],
    }


def _record(estimates: Estimates, measures: Sequence[Measure]) -> dict[str, Any]:
    if not estimates:
        return {}
    named = {measure.name: estimates[measure.name] for measure in measures}
    return {
        name: {"value": number_or_none(estimate.value), "interval": _limits(estimate)}
        for name, estimate in named.items()
    }


def _limits(estimate: Estimate) -> list[float | None]:
    return numbers_or_none([estimate.low, estimate.high])


def guidance_summary(workspace: Workspace, runs: Sequence[Run], split: str) -> Summary:
    """`gather_guidance` as tables, a line of words a lambda, and `guidance` in the data; empty without sweeps."""
    gathered = gather_guidance(workspace, runs, split)
    guided = [
        run for guidance in gathered for condition in guidance.sweep.conditions for run in condition.runs
    ]
    return Summary(
        data={"guidance": [guidance_record(guidance) for guidance in gathered]} if gathered else {},
        tables=[table for guidance in gathered for table in guidance_tables(guidance)],
        notes=[
            *outdated_notes(guided, find_stored(workspace, guided, split)[1]),
            *(
                f"{guidance.sweep.name}, lambda {verdict.weight:g}: {' '.join(verdict.sentences)}"
                for guidance in gathered
                for verdict in verdicts_of(guidance)
            ),
        ],
    )
