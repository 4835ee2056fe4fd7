"""What the figures of a sweep let one say, in words.

It follows from 95% intervals of differences alone (see `intervals`): something fell where the whole interval lies
below 0. The causal weight of the background is how far answers rest on it, never what it is worth to accuracy: of a
mark that misleads that is less than nothing, and rises as a model turns away from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fertool.score.guidance import (
    ACCURACY,
    CAUSAL_WEIGHT,
    CORRUPTION_ERROR,
    EMPTY,
    SHARE,
    SWAP_CHANGED,
    Estimate,
    Guidance,
    Kind,
    Measure,
    Outcome,
    is_of,
)
from fertool.score.sweeps import OWN, SHUFFLED


@dataclass(frozen=True)
class Verdict:
    """What intervals let one say of guidance with own masks at one lambda."""

    weight: float  # lambda
    moved: str | None  # model, heatmap, in part, nothing; None: not to be said from what is stored
    sentences: list[str]


def verdicts_of(guidance: Guidance) -> list[Verdict]:
    """A verdict for each lambda whose masks were the faces' own, where there is a lambda 0 to compare with."""
    return [_verdict(guidance, of) for of in guidance.outcomes if of.condition.masks == OWN and of.change]


def _verdict(guidance: Guidance, of: Outcome) -> Verdict:
    """What a condition with own masks is, beside lambda 0 and beside its placebo: the conclusion first."""
    known = [measure for measure in guidance.measures if of.change[measure.name].direction is not None]
    shares = [measure for measure in known if measure.kind is SHARE]
    guiding = next((share for share in shares if is_of(share.explainer, guidance.sweep.explainer)), None)
    causes = [measure for measure in known if measure.kind in (CAUSAL_WEIGHT, SWAP_CHANGED)]
    moved, conclusion = _conclusion(guidance, of, guiding, shares, causes)
    sentences = [
        *conclusion,
        *_on_changes("Background share", of, shares, guiding),
        *_on_empty_maps(of, known),
        *_on_changes("Causal weight of the background", of, causes),
        *_on_placebo(guidance, of, [measure for measure in (guiding, *causes) if measure]),
        *_on_merit(of, known),
    ]
    return Verdict(of.condition.weight, moved, sentences)


def _conclusion(
    guidance: Guidance,
    of: Outcome,
    guiding: Measure | None,
    shares: Sequence[Measure],
    causes: Sequence[Measure],
) -> tuple[str | None, list[str]]:
    """What moved, in a word and in a sentence or two."""
    fell = [cause for cause in causes if of.change[cause.name].direction == -1]
    if guiding is None:
        return None, [
            f"Whether the map moved is not known: no attention of {guidance.sweep.explainer}, which guided, is "
            "stored for all seeds."
        ]
    if of.change[guiding.name].direction != -1:
        yet = f", yet the causal weight fell by {_listed(fell)}" if fell else ""
        moved = "nothing" if causes and not fell else None
        return moved, [f"No fall of the background share that guidance asked for is shown{yet}."]
    if not causes:
        others = [share for share in shares if not is_of(share.explainer, guidance.sweep.explainer)]
        only = others and all(of.change[share.name].direction != -1 for share in others)
        hint = " It fell only where it was asked for, which speaks for a taught heatmap." if only else ""
        return None, [
            "The map moved; whether the model did is not known, as no causal weight (suite causal) is stored for all "
            "seeds." + hint
        ]
    if len(fell) == len(causes):
        return "model", ["The map moved and the causal weight with it: guidance moved the model."]
    if fell:
        rest = [cause for cause in causes if cause not in fell]
        return "in part", [
            f"The map moved; the causal weight fell by {_listed(fell)}, and no fall is shown by {_listed(rest)}: "
            "whether guidance moved the model hangs on how the background is taken away."
        ]
    sentences = [
        "The map moved and no fall of the causal weight is shown: guidance taught the heatmap, not the model."
    ]
    unguided = next(outcome for outcome in guidance.outcomes if outcome.condition.masks is None)
    if all(unguided.figures[cause.name].direction != 1 for cause in causes):
        sentences.append("At lambda 0 the background is not shown to have any causal weight that could fall.")
    return "heatmap", sentences


def _on_changes(
    what: str, of: Outcome, measures: Sequence[Measure], guiding: Measure | None = None
) -> list[str]:
    """Changes from lambda 0, sorted by what their intervals show."""
    found: dict[str, list[str]] = {}
    for measure in measures:
        change = of.change[measure.name]
        word = {-1: "fell", 1: "rose", 0: "no change shown"}[change.direction]
        guided = ", which guided," if guiding and measure.explainer == guiding.explainer else ""
        found.setdefault(word, []).append(f"{_word(measure)}{guided} {signed(change, measure.kind)}")
    parts = "; ".join(f"{word}: {', '.join(found[word])}" for word in found)
    return [f"{what}, points, {parts}."] if parts else []


def _on_empty_maps(of: Outcome, known: Sequence[Measure]) -> list[str]:
    more = [
        f"{measure.of} {signed(of.change[measure.name], EMPTY)}"
        for measure in known
        if measure.kind is EMPTY and of.change[measure.name].direction == 1
    ]
    return [f"More maps are empty and have no share, points: {', '.join(more)}."] if more else []


def _on_placebo(guidance: Guidance, of: Outcome, measures: Sequence[Measure]) -> list[str]:
    """Of what fell with own masks: whether shuffled masks lower it as much."""
    fell = [measure for measure in measures if of.change[measure.name].direction == -1]
    if not fell:
        return []
    if not of.beyond_placebo:
        return ["Without shuffled masks at this lambda it is open whether any mask would do it."]
    placebo = next(
        outcome
        for outcome in guidance.outcomes
        if outcome.condition.masks == SHUFFLED and outcome.condition.weight == of.condition.weight
    )
    found: dict[str, list[str]] = {}
    for measure in fell:
        beyond = of.beyond_placebo[measure.name]
        if beyond.direction is None:
            continue
        alike = "any mask does it" if placebo.change[measure.name].direction == -1 else "not told apart"
        word = {-1: "own masks lower it further", 1: "shuffled masks lower it further", 0: alike}
        name = f"share by {measure.of}" if measure.kind is SHARE else f"causal weight by {_word(measure)}"
        found.setdefault(word[beyond.direction], []).append(f"{name} {signed(beyond, measure.kind)}")
    parts = "; ".join(f"{word}: {', '.join(found[word])}" for word in found)
    return [f"Own less shuffled masks, points, {parts}."] if parts else []


def _on_merit(of: Outcome, known: Sequence[Measure]) -> list[str]:
    """A sentence on accuracy and one on robustness."""
    sentences = []
    for kind, what, good in ((ACCURACY, "Accuracy", 1), (CORRUPTION_ERROR, "Robustness (mCE)", -1)):
        if kind in [measure.kind for measure in known]:
            change = of.change[kind.name]
            word = {good: "better", -good: "worse", 0: "no difference shown"}[change.direction]
            sentences.append(f"{what}: {word}, {signed(change, kind)} points.")
    return sentences


def _word(measure: Measure) -> str:
    return "swap" if measure.kind is SWAP_CHANGED else measure.of


def _listed(measures: Sequence[Measure]) -> str:
    *first, last = map(_word, measures)
    return f"{', '.join(first)} and {last}" if first else last


def signed(change: Estimate, kind: Kind) -> str:
    """A difference with its interval, as `-3.1 [-4.2, -2.0]`."""
    value, low, high = (
        f"{kind.scale * of:+.{kind.digits}f}" for of in (change.value, change.low, change.high)
    )
    return f"{value} [{low}, {high}]"
