"""The warnings of the first screen, which a reader must know before any figure, each by a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fertool.report.chance import ChanceLevels, guessing_accuracy, lifts_are_all_one
from fertool.report.conditions import Condition, adopted_note, tuned_note
from fertool.report.evidence import Evidence, estimates
from fertool.report.views import View, recommended_grid
from fertool.report.words import listed
from fertool.score.statistics.scales import POSITIVE
from fertool.score.suites.region_share_tables import FEW_FACES
from fertool.score.suites.sanity import marked


@dataclass(frozen=True)
class Warning:
    """A warning: the rule that gave it, the condition that it is of (none: of all), and a sentence."""

    rule: str
    condition: str | None
    sentence: str


def find_warnings(evidence: Evidence, chance: ChanceLevels) -> list[Warning]:
    """The warnings of a report: those of all figures first, then each condition's."""
    warnings = [
        *_few_faces(evidence),
        *_few_maps(evidence),
        *_unlike_grids(evidence),
        *_like_guessing(evidence, chance),
    ]
    for condition in evidence.conditions:
        view = evidence.main_view(condition)
        if view is not None:
            warnings += [
                *_flat_map(evidence, condition, view),
                *_insane(evidence, condition, view),
                *_untrue(chance, condition, view),
            ]
        warnings += _adopted(evidence, condition)
    return warnings


def _few_faces(evidence: Evidence) -> list[Warning]:
    if evidence.faces >= FEW_FACES:
        return []
    return [
        Warning(
            "few faces",
            None,
            f"Only {evidence.faces} faces in '{evidence.split}': intervals are rough, and no p-values are given.",
        )
    ]


def _few_maps(evidence: Evidence) -> list[Warning]:
    """Tables over few of the split's faces."""
    if evidence.faces < FEW_FACES:
        return []
    return [
        Warning(
            "few maps",
            None,
            f"Only {faces} {part} are compared by {view.name}: intervals are rough there, and no p-values are given.",
        )
        for view in _shown_views(evidence)
        for part, faces in evidence.compared_faces(view).items()
        if faces < FEW_FACES
    ]


def _shown_views(evidence: Evidence) -> list[View]:
    shown = {view.name: view for view in map(evidence.main_view, evidence.conditions) if view is not None}
    return list(shown.values())


def _unlike_grids(evidence: Evidence) -> list[Warning]:
    warnings = []
    for view in _shown_views(evidence):
        if len(view.own_grids) < 2:
            continue
        sides = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(view.own_grids))
        grid = recommended_grid(view, evidence.workspace.load_region_maps(evidence.split))
        advice = (
            f"'fertool score --explainer {view.explainer} --grid {grid}' compares them on one grid."
            if grid
            else "No common grid is recommended, since on the coarsest of them a region's ceiling is below 50%."
        )
        warnings.append(
            Warning(
                "unlike grids",
                None,
                f"The maps of {view.name} lie on unlike grids ({sides} cells), which alone moves shares: do not "
                f"compare networks by them. {advice}",
            )
        )
    return warnings


def _like_guessing(evidence: Evidence, chance: ChanceLevels) -> list[Warning]:
    names = [condition.name for condition in evidence.conditions if not chance.is_trusted(condition)]
    if not names:
        return []
    guessing = guessing_accuracy(evidence.labels)
    return [
        Warning(
            "accuracy",
            names[0] if len(names) == 1 else None,
            f"The accuracy of {listed(names)} is not shown to be above {guessing:.1%}, which always answering the most "
            "frequent class would reach: nothing that is looked at means anything there.",
        )
    ]


def _flat_map(evidence: Evidence, condition: Condition, view: View) -> list[Warning]:
    lifts = evidence.lifts(view, [condition])
    if lifts is None or not lifts_are_all_one(estimates(lifts[0], POSITIVE)):
        return []
    return [
        Warning(
            "flat map",
            condition.name,
            f"Each lift of {condition.name} ({view.name}) may be 1: this map does not know the face.",
        )
    ]


def _insane(evidence: Evidence, condition: Condition, view: View) -> list[Warning]:
    known = evidence.stored(evidence.suite("sanity", view), condition)
    if not any(marked(run) for run in known):
        return []
    return [
        Warning(
            "sanity",
            condition.name,
            f"The map of {view.explainer} for {condition.name} hardly changes when the weights are randomised "
            "(suite sanity): it says little of this model.",
        )
    ]


def _untrue(chance: ChanceLevels, condition: Condition, view: View) -> list[Warning]:
    """Maps that tell this model's behaviour no better than maps that know nothing."""
    found = chance.compare(condition, view)
    if found is None:
        return []
    failed = [
        f"{test} than the null{'s' if len(nulls) > 1 else ''} {', '.join(nulls)}"
        for test, nulls in (
            ("it is not shown to be more faithful (ROAD)", found.not_faithful_beyond),
            ("its causal agreement is not shown to be higher", found.no_agreement_beyond),
        )
        if nulls
    ]
    if not failed:
        return []
    return [
        Warning(
            "untrue map",
            condition.name,
            f"The map of {view.explainer} for {condition.name} may not tell the truth about it: "
            f"{'; '.join(failed)}.",
        )
    ]


def _adopted(evidence: Evidence, condition: Condition) -> list[Warning]:
    if condition.is_tuned_with_its_head:
        return [Warning("adopted", condition.name, tuned_note(condition.name))]
    if not condition.is_adopted:
        return []
    warnings = [Warning("adopted", condition.name, adopted_note(condition.name))]
    if unshared := _unshared_sentence(
        condition.name, evidence.stored(evidence.suite("classification"), condition)
    ):
        warnings.append(Warning("unshared classes", condition.name, unshared))
    return warnings


def _unshared_sentence(name: str, scored: Sequence[Mapping[str, Any]]) -> str:
    """The sentence on classes that an adopted network and the data set do not share; empty where they share all."""
    found = (scored[0].get("unshared_classes") if scored else None) or {}
    parts = []
    if lacking := found.get("not_its_classes"):
        shared = found.get("shared_classes")
        over = f"; over the classes that it has, its accuracy is {shared['accuracy']:.1%}" if shared else ""
        parts.append(f"{name} has no class {listed(lacking)}, and never predicts it{over}.")
    if left_out := found.get("left_out"):
        answers = found.get("left_out_answers")
        won = (
            f"; it had been the answer for {sum(answers.values()):,} of {scored[0]['faces']:,} faces"
            if answers
            else ""
        )
        outputs = "outputs" if len(left_out) > 1 else "output"
        parts.append(f"{name} has the {outputs} {listed(left_out)}, left out of the softmax{won}.")
    return " ".join(parts)
