"""Does the heatmap tell the truth about this model?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fertool.report.answers.answer import Answer, Missing, Sentence
from fertool.report.chance import ChanceLevels
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence, estimates
from fertool.report.shell_lines import score_line
from fertool.report.views import View
from fertool.report.words import listed, plain
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.scales import CORRELATION
from fertool.score.suites.sanity import marked

QUESTION = "Does the heatmap tell the truth about the model?"
TESTS = "ROAD and causal agreement beside the null maps on the same faces; sanity by randomised weights"
SUITES = ("faithfulness", "causal", "sanity")
MOST_IN_FULL = 6  # maps of which each has a sentence beside the others; of more the sum comes first


@dataclass(frozen=True)
class MapTests:
    """The tests that the maps of an explainer for a condition passed; None where one was not made."""

    explainer: str
    condition: str
    is_faithful: bool | None  # more than every null
    agrees: bool | None  # with the causes, above every null
    is_sane: bool | None  # changes with the weights

    @property
    def was_made(self) -> bool:
        """Whether any test was made."""
        return any(test is not None for test in (self.is_faithful, self.agrees, self.is_sane))

    @property
    def passes(self) -> bool:
        """Whether it passes every test that was made."""
        return False not in (self.is_faithful, self.agrees, self.is_sane)


def do_the_maps_tell_the_truth(evidence: Evidence, chance: ChanceLevels) -> Answer:
    """A verdict on each explainer of each condition; of many, their sum first. Tests that were not made are said."""
    tested: list[MapTests] = []
    on_maps: list[Sentence] = []
    planted: list[Sentence] = []
    untested: dict[tuple[str, ...], list[tuple[Condition, View]]] = {}
    for condition in evidence.conditions:
        for view in _most_tested(evidence, chance, condition):
            found = _tests(evidence, chance, condition, view)
            if found.was_made:
                tested.append(found)
                on_maps.append(_on_map(evidence, chance, condition, view, found))
                planted += _planted(evidence, condition, view)
            lacking = tuple(_lacking(evidence, chance, condition, view))
            if lacking:
                untested.setdefault(lacking, []).append((condition, view))
    missing = [_missing(evidence, lacking, maps) for lacking, maps in untested.items()]
    if not evidence.views:
        line = score_line(["attention", *SUITES], target="label", split=evidence.split)
        missing.append(Missing("no maps are scored", (line,)))
    summary: list[Sentence] = []
    if len(tested) > MOST_IN_FULL:
        first, *others = truth_summary(tested)
        summary = [Sentence(first, TESTS), *map(Sentence, others)]
        # the test behind them is that of the sum
        on_maps = [Sentence(sentence.text, is_detail=True) for sentence in on_maps]
    return Answer("truthfulness", QUESTION, [*summary, *on_maps, *planted], missing)


def truth_summary(tested: Sequence[MapTests]) -> list[str]:
    """Sentences on many maps: whose pass, that of the largest share of networks first; then each explainer's tests."""
    by_explainer: dict[str, list[MapTests]] = {}
    for one in tested:
        by_explainer.setdefault(one.explainer, []).append(one)
    passed = {explainer: sum(one.passes for one in maps) for explainer, maps in by_explainer.items()}
    order = sorted(by_explainer, key=lambda explainer: -passed[explainer] / len(by_explainer[explainer]))
    parts = [
        f"{explainer} for {_of_networks(passed[explainer], len(by_explainer[explainer]))}"
        for explainer in order
        if passed[explainer]
    ]
    none = [explainer for explainer in order if not passed[explainer]]
    if parts:
        rest = f"; no map of {listed(none, 'or')} passes every one" if none else ""
        first = f"Every test that was made is passed by the maps of {listed(parts)}{rest}."
    else:
        first = f"No map of {listed(none, 'or')} passes every test that was made."
    return [first, *(tests_sentence(explainer, by_explainer[explainer]) for explainer in order)]


def _of_networks(passed: int, count: int) -> str:
    if count == 1:
        return "its one network"
    return f"all {count} networks" if passed == count else f"{passed} of {count} networks"


def tests_sentence(explainer: str, tested: Sequence[MapTests]) -> str:
    """The sentence on an explainer's maps of several conditions: how many passed each test that was made."""
    measures = {
        "more faithful than every null map": [one.is_faithful for one in tested],
        "nearer to the causes than every null map": [one.agrees for one in tested],
        "changed by random weights": [one.is_sane for one in tested],
    }
    parts = []
    for words, results in measures.items():
        made = [result for result in results if result is not None]
        if made:
            parts.append(f"{words} for {sum(made)} of {len(made)}")
    return f"{explainer}: {listed(parts)}."


def _most_tested(evidence: Evidence, chance: ChanceLevels, condition: Condition) -> list[View]:
    """Choose for each explainer the view, by target, for which most tests were made."""

    def tests_made(view: View) -> int:
        found = chance.compare(condition, view)
        if found is None:
            return -1
        return (found.not_faithful_beyond is not None) + (found.no_agreement_beyond is not None)

    by_explainer: dict[str, list[View]] = {}
    for view in evidence.views_with(condition):
        by_explainer.setdefault(view.explainer, []).append(view)
    return [max(views, key=tests_made) for views in by_explainer.values()]


def _tests(evidence: Evidence, chance: ChanceLevels, condition: Condition, view: View) -> MapTests:
    known = evidence.stored(evidence.suite("sanity", view), condition)
    sane = None if not known else not any(marked(run) for run in known)
    found = chance.compare(condition, view)
    if found is None:
        return MapTests(view.explainer, condition.name, None, None, None)
    nulls = (found.not_faithful_beyond, found.no_agreement_beyond)
    faithful, agrees = (None if beyond is None else not beyond for beyond in nulls)
    return MapTests(view.explainer, condition.name, faithful, agrees, sane)


def _on_map(
    evidence: Evidence, chance: ChanceLevels, condition: Condition, view: View, tested: MapTests
) -> Sentence:
    found = chance.compare(condition, view)
    assert found is not None  # tests were made
    agreement = evidence.agreement(view, condition)
    text = truth_sentence(
        f"{view.explainer} for {condition.name}",
        found.not_faithful_beyond,
        found.no_agreement_beyond,
        tested.is_sane,
        estimates(agreement, CORRELATION)[0] if agreement is not None else None,
    )
    return Sentence(text, TESTS)


def truth_sentence(
    what: str,
    not_faithful_beyond: Sequence[str] | None,
    no_agreement_beyond: Sequence[str] | None,
    sane: bool | None,
    agreement: Estimate | None,
) -> str:
    """The verdict on a map: it passes where every test that was made is passed.

    Args:
        what: the map, as `gradcam for cnn`.
        not_faithful_beyond: nulls that it is not shown to be more faithful than; None where not scored.
        no_agreement_beyond: nulls whose causal agreement is not below its own; None where not scored.
        sane: whether it changes with the weights; None where not scored.
        agreement: its causal agreement; None where not scored.
    """
    failed: list[str] = []
    passed: list[str] = []
    if not_faithful_beyond is not None:
        (failed if not_faithful_beyond else passed).append(
            f"it is not shown to be more faithful than {listed(not_faithful_beyond)}"
            if not_faithful_beyond
            else "it is more faithful than every null map"
        )
    if no_agreement_beyond is not None and agreement is not None:
        figure = f"causal agreement {plain(agreement)}"
        (failed if no_agreement_beyond else passed).append(
            f"its {figure} is not above that of {listed(no_agreement_beyond)}"
            if no_agreement_beyond
            else f"its {figure} is above that of every null map"
        )
    if sane is not None:
        (passed if sane else failed).append(
            "it changes when the weights are randomised"
            if sane
            else "it hardly changes when the weights are randomised"
        )
    if failed:
        rest = f" It does pass this: {'; '.join(passed)}." if passed else ""
        return f"The map of {what} cannot be trusted as it is: {'; '.join(failed)}.{rest}"
    return f"The map of {what} passes the tests that were made: {'; '.join(passed)}."


def _planted(evidence: Evidence, condition: Condition, view: View) -> list[Sentence]:
    known = evidence.stored(evidence.suite("truth", view), condition)
    found = [
        planted_sentence(f"{view.explainer} for {condition.name}", plane, by_explainer[view.explainer])
        for run in known[:1]
        for plane, by_explainer in run["planes"].items()
        if by_explainer.get(view.explainer) is not None
    ]
    return [Sentence(text) for text in [" ".join(found)] if text]


def planted_sentence(what: str, plane: str, figures: Mapping[str, Any]) -> str:
    """Whether a map finds what was planted: its AUC against 0.5, chance."""
    low, high = figures["intervals"]["auc"]
    if low is None or high is None:
        return ""
    auc = Estimate(figures["auc"], low, high)
    if low > 0.5:
        return f"Where the {plane} was planted, the map of {what} finds it: AUC {plain(auc)}, chance 0.50."
    return f"Where the {plane} was planted, the map of {what} is not shown to find it: AUC {plain(auc)}, chance 0.50."


def _lacking(evidence: Evidence, chance: ChanceLevels, condition: Condition, view: View) -> list[str]:
    found = chance.compare(condition, view)
    if found is None:
        return []
    lacking = []
    if found.not_faithful_beyond is None:
        lacking.append("faithfulness")
    if found.no_agreement_beyond is None:
        lacking.append("causal")
    makes_maps = view.gathered.settings.request.explainer.makes_maps
    if makes_maps and not evidence.stored(evidence.suite("sanity", view), condition):
        lacking.append("sanity")
    return lacking


def _missing(evidence: Evidence, lacking: tuple[str, ...], maps: Sequence[tuple[Condition, View]]) -> Missing:
    explainers = list(dict.fromkeys(view.explainer for _, view in maps))
    conditions = list(dict.fromkeys(condition.name for condition, _ in maps))
    lines = tuple(
        score_line(
            lacking,
            explainer=explainer,
            target="label",
            sample=_sampled(maps, explainer),
            split=evidence.split,
        )
        for explainer in explainers
    )
    verb = "was" if len(lacking) == 1 else "were"
    what = f"{listed(lacking)} {verb} not scored, or without null maps, for {listed(explainers)}"
    # each explainer lacks them for each condition
    are_all = len(maps) == len(explainers) * len(evidence.conditions)
    whose = "every condition" if are_all and len(conditions) > 1 else listed(conditions)
    return Missing(f"{what} of {whose}", lines)


def _sampled(maps: Sequence[tuple[Condition, View]], explainer: str) -> Mapping[str, int] | None:
    """The largest sample of faces that an explainer's maps were scored on; None where some were scored on all."""
    samples = [
        run.get("sample") for _, view in maps if view.explainer == explainer for run in view.gathered.scores
    ]
    known = [sample for sample in samples if sample]
    return max(known, key=lambda sample: sample["faces"]) if len(known) == len(samples) else None
