"""Conclusions from the figures of a sweep, in words.

It follows from 95% intervals of differences alone (see `intervals`): something fell where the whole interval lies
below 0. The causal weight of the background is how far answers rest on it, never what it is worth to accuracy: of a
mark that misleads that is less than nothing, and rises as a model turns away from it. Nor is a smaller weight enough:
a network that gives nearly every face the same answer rests it on nothing, the background included, and changes few
answers before another one. So guidance moved the model only where the background's part of what all regions weigh
fell with its weight. A swap has no such part, and does not decide alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fertool.score.guidance.effects import (
    ACCURACY,
    CAUSAL_PART,
    CAUSAL_WEIGHT,
    CORRUPTION_ERROR,
    EMPTY,
    SHARE,
    SHARE_OF_ALL,
    SWAP_CHANGED,
    Estimate,
    Guidance,
    Kind,
    Measure,
    Outcome,
    is_of,
)
from fertool.score.guidance.sweeps import OWN, SHUFFLED


@dataclass(frozen=True)
class Verdict:
    """The conclusion that intervals allow on guidance with own masks at one lambda."""

    weight: float  # lambda
    # model; all regions: the background's weight fell, and no more than the others' as far as is shown; heatmap;
    # in part: weights and parts, by each way of taking the background away, do not agree; nothing; None: not to be
    # said from what is stored
    moved: str | None
    sentences: list[str]


def verdicts_of(guidance: Guidance) -> list[Verdict]:
    """A verdict for each lambda whose masks were the faces' own, where there is a lambda 0 to compare with."""
    return [
        _verdict(guidance, outcome)
        for outcome in guidance.outcomes
        if outcome.condition.masks == OWN and outcome.change
    ]


def _verdict(guidance: Guidance, outcome: Outcome) -> Verdict:
    """The verdict on a condition with own masks, beside lambda 0 and its placebo: the conclusion first."""
    known = [measure for measure in guidance.measures if outcome.change[measure.name].direction is not None]
    # the label's map is what guides
    guiding = sorted(_measures_of(known, SHARE_OF_ALL), key=lambda measure: measure.target != "label")[:1]
    others = [
        share
        for share in _measures_of(known, SHARE)
        if share.explainer and not is_of(share.explainer, guidance.sweep.explainer)
    ]
    weights, parts = _measures_of(known, CAUSAL_WEIGHT, SWAP_CHANGED), _measures_of(known, CAUSAL_PART)
    moved: str | None
    if guiding and weights and _fell(outcome, guiding):
        moved, conclusion = _on_causes(guidance, outcome, weights, parts)
    else:
        moved, conclusion = _on_maps(guidance, outcome, guiding, others, weights)
    sentences = [
        *conclusion,
        *_on_changes("Background share", outcome, [*guiding, *others], guiding),
        *_on_empty_maps(outcome, known, guiding),
        *_on_changes("Causal weight of the background", outcome, weights),
        *_on_changes("Its part of what all regions weigh", outcome, parts),
        *_on_placebo(guidance, outcome, [*guiding, *weights, *parts]),
        *_on_merit(outcome, known),
    ]
    return Verdict(outcome.condition.weight, moved, sentences)


def _on_maps(
    guidance: Guidance,
    outcome: Outcome,
    guiding: Sequence[Measure],
    others: Sequence[Measure],
    weights: Sequence[Measure],
) -> tuple[str | None, list[str]]:
    """The verdict where the map did not move, or where nothing is known of map or model."""
    if not guiding:
        return None, [
            f"Whether the map moved is not known: no attention of {guidance.sweep.explainer}, which guided, is "
            "stored for all seeds."
        ]
    if not _fell(outcome, guiding):
        fell = _fell(outcome, weights)
        yet = f", yet the causal weight fell by {_listed(fell)}" if fell else ""
        moved = "nothing" if weights and not fell else None
        return moved, [f"No fall of the background share that guidance asked for is shown{yet}."]
    only = others and not _fell(outcome, others)
    hint = " It fell only where it was asked for, which speaks for a taught heatmap." if only else ""
    return None, [
        "The map moved; whether the model did is not known, as no causal weight (suite causal) is stored for all "
        f"seeds.{hint}"
    ]


def _on_causes(
    guidance: Guidance, outcome: Outcome, weights: Sequence[Measure], parts: Sequence[Measure]
) -> tuple[str, list[str]]:
    """The verdict where the map moved, in a word and in a sentence or two."""
    fell, parts_fell = _fell(outcome, weights), _fell(outcome, parts)
    rest = [weight for weight in weights if weight not in fell]
    by_fill = _measures_of(fell, CAUSAL_WEIGHT)
    with_part = [weight for weight in by_fill if weight.variant in [part.variant for part in parts_fell]]
    alike = [weight for weight in by_fill if weight not in with_part]
    if with_part and not alike and not rest:
        return "model", [
            "The map moved and the causal weight with it, also as a part of what all regions weigh: guidance moved "
            "the model."
        ]
    if alike and not parts_fell:
        no_fall = f" No fall is shown by {_listed(rest)}." if rest else ""
        return "all regions", [
            f"The map moved and the causal weight fell by {_listed(fell)}, but the background's part of what all "
            "regions weigh is not shown to have fallen: answers rest less on everything, as far as is shown, and not "
            f"on the background above all.{no_fall}"
        ]
    if fell:
        found = [f"the causal weight fell by {_listed(fell)}"]
        part_alone = [
            part for part in parts_fell if part.variant not in [weight.variant for weight in by_fill]
        ]
        if alike:
            found.append(f"no fall of its part of what all regions weigh is shown by {_listed(alike)}")
        if part_alone:
            found.append(f"its part of what all regions weigh fell by {_listed(part_alone)}")
        if rest:
            found.append(f"no fall is shown by {_listed(rest)}")
        return "in part", [
            f"The map moved; {', and '.join(found)}: whether guidance moved the model hangs on how the background is "
            "taken away."
        ]
    if parts_fell:
        return "in part", [
            "The map moved; no fall of the causal weight is shown, yet the background's part of what all regions "
            f"weigh fell by {_listed(parts_fell)}."
        ]
    sentences = [
        "The map moved and no fall of the causal weight is shown: as far as is shown, guidance taught the heatmap, "
        "not the model."
    ]
    unguided = next(outcome for outcome in guidance.outcomes if outcome.condition.masks is None)
    if all(unguided.figures[weight.name].direction != 1 for weight in weights):
        sentences.append("At lambda 0 the background is not shown to have any causal weight that could fall.")
    return "heatmap", sentences


def _measures_of(measures: Sequence[Measure], *kinds: Kind) -> list[Measure]:
    return [measure for measure in measures if measure.kind in kinds]


def _fell(outcome: Outcome, measures: Sequence[Measure]) -> list[Measure]:
    """The measures whose change from lambda 0 is shown to be a fall."""
    return [measure for measure in measures if outcome.change[measure.name].direction == -1]


def _on_changes(
    what: str, outcome: Outcome, measures: Sequence[Measure], guiding: Sequence[Measure] = ()
) -> list[str]:
    """Changes from lambda 0, sorted by what their intervals show."""
    found: dict[str, list[str]] = {}
    for measure in measures:
        change = outcome.change[measure.name]
        word = {-1: "fell", 1: "rose"}.get(change.direction or 0, "no change shown")
        guided = ", which guided," if measure in guiding else ""
        found.setdefault(word, []).append(f"{_word(measure)}{guided} {signed(change, measure.kind)}")
    parts = "; ".join(f"{word}: {', '.join(found[word])}" for word in found)
    return [f"{what}, points, {parts}."] if parts else []


def _on_empty_maps(outcome: Outcome, known: Sequence[Measure], guiding: Sequence[Measure]) -> list[str]:
    """Where more or fewer maps are empty; of the explainer that guided also what became of the other maps."""
    found: dict[int, list[str]] = {}
    for measure in _measures_of(known, EMPTY):
        change = outcome.change[measure.name]
        if change.direction:
            found.setdefault(change.direction, []).append(f"{measure.variant} {signed(change, EMPTY)}")
    words = {1: "More maps are empty", -1: "Fewer maps are empty"}
    sentences = [
        f"{word}, points: {', '.join(found[direction])}."
        for direction, word in words.items()
        if direction in found
    ]
    for measure in guiding:
        empty, share = (outcome.change[replace(measure, kind=kind).name] for kind in (EMPTY, SHARE))
        if empty.direction and share.direction is not None:
            sentences.append(
                f"An empty map of {measure.variant} counts as wholly on the background; of its other maps the share "
                f"changed by {signed(share, SHARE)} points."
            )
    return sentences


def _on_placebo(guidance: Guidance, outcome: Outcome, measures: Sequence[Measure]) -> list[str]:
    """For each measure that fell with own masks: whether shuffled masks lower it as much."""
    fell = _fell(outcome, measures)
    if not fell:
        return []
    if not outcome.beyond_placebo:
        return ["Without shuffled masks at this lambda it is open whether any mask would do the same."]
    placebo = next(
        other
        for other in guidance.outcomes
        if other.condition.masks == SHUFFLED and other.condition.weight == outcome.condition.weight
    )
    found: dict[str, list[str]] = {}
    for measure in fell:
        beyond = outcome.beyond_placebo[measure.name]
        if beyond.direction is None:
            continue
        fell_too = placebo.change[measure.name].direction == -1
        alike = "shuffled masks lower it too, no difference shown" if fell_too else "not told apart"
        word = {-1: "own masks lower it further", 1: "shuffled masks lower it further", 0: alike}
        what = {SHARE_OF_ALL: "share", CAUSAL_PART: "its part"}.get(measure.kind, "causal weight")
        found.setdefault(word[beyond.direction], []).append(
            f"{what} by {_word(measure)} {signed(beyond, measure.kind)}"
        )
    parts = "; ".join(f"{word}: {', '.join(found[word])}" for word in found)
    return [f"Own less shuffled masks, points, {parts}."] if parts else []


def _on_merit(outcome: Outcome, known: Sequence[Measure]) -> list[str]:
    """A sentence on accuracy and one on robustness, each beside lambda 0 and beside the placebo."""
    sentences = []
    for kind, what, good in ((ACCURACY, "Accuracy", 1), (CORRUPTION_ERROR, "Robustness (mCE)", -1)):
        if not _measures_of(known, kind):
            continue
        word = {good: "better", -good: "worse", 0: "no difference shown"}
        change, beyond = outcome.change[kind.name], outcome.beyond_placebo.get(kind.name)
        sentence = f"{what}: {word[change.direction or 0]}, {signed(change, kind)} points"
        if beyond is not None and beyond.direction is not None:
            sentence += f"; beyond shuffled masks {word[beyond.direction]}, {signed(beyond, kind)}"
        sentences.append(f"{sentence}.")
    return sentences


def _word(measure: Measure) -> str:
    return "swap" if measure.kind is SWAP_CHANGED else measure.variant


def _listed(measures: Sequence[Measure]) -> str:
    *first, last = map(_word, measures)
    return f"{', '.join(first)} and {last}" if first else last


def signed(change: Estimate, kind: Kind) -> str:
    """A difference with its interval, as `-3.1 [-4.2, -2.0]`."""
    value, low, high = (
        f"{kind.scale * limit:+.{kind.digits}f}" for limit in (change.value, change.low, change.high)
    )
    return f"{value} [{low}, {high}]"
