"""Does the heatmap tell the truth about this model?"""

from collections.abc import Mapping, Sequence
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


def do_the_maps_tell_the_truth(evidence: Evidence, chance: ChanceLevels) -> Answer:
    """A verdict on each explainer of each condition; what was not tested is said."""
    sentences: list[Sentence] = []
    untested: dict[tuple[str, ...], list[tuple[Condition, View]]] = {}
    for condition in evidence.conditions:
        for view in _most_tested(evidence, chance, condition):
            sentences += _on_map(evidence, chance, condition, view)
            lacking = tuple(_lacking(evidence, chance, condition, view))
            if lacking:
                untested.setdefault(lacking, []).append((condition, view))
    missing = [_missing(evidence, lacking, maps) for lacking, maps in untested.items()]
    if not evidence.views:
        line = score_line(["attention", *SUITES], target="label", split=evidence.split)
        missing.append(Missing("no maps are scored", (line,)))
    return Answer("truthfulness", QUESTION, sentences, missing)


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


def _on_map(evidence: Evidence, chance: ChanceLevels, condition: Condition, view: View) -> list[Sentence]:
    found = chance.compare(condition, view)
    known = evidence.stored(evidence.suite("sanity", view), condition)
    sane = None if not known else not any(marked(run) for run in known)
    if found is None or (
        found.not_faithful_beyond is None and found.no_agreement_beyond is None and sane is None
    ):
        return []
    agreement = evidence.agreement(view, condition)
    text = truth_sentence(
        f"{view.explainer} for {condition.name}",
        found.not_faithful_beyond,
        found.no_agreement_beyond,
        sane,
        estimates(agreement, CORRELATION)[0] if agreement is not None else None,
    )
    planted = _planted(evidence, condition, view)
    return [Sentence(text, TESTS), *([Sentence(planted)] if planted else [])]


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


def _planted(evidence: Evidence, condition: Condition, view: View) -> str:
    known = evidence.stored(evidence.suite("truth", view), condition)
    found = [
        planted_sentence(f"{view.explainer} for {condition.name}", plane, by_explainer[view.explainer])
        for run in known[:1]
        for plane, by_explainer in run["planes"].items()
        if by_explainer.get(view.explainer) is not None
    ]
    return " ".join(found)


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
        score_line(lacking, explainer=explainer, target="label", split=evidence.split)
        for explainer in explainers
    )
    verb = "was" if len(lacking) == 1 else "were"
    what = f"{listed(lacking)} {verb} not scored, or without null maps, for {listed(explainers)}"
    return Missing(f"{what} of {listed(conditions)}", lines)
