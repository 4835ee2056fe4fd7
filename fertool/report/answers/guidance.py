"""Does guidance improve interpretability, robustness, accuracy; did it move the model or the map?"""

from fertool.report.answers.answer import Answer, Missing, Sentence
from fertool.report.chance import ChanceLevels
from fertool.report.evidence import Evidence
from fertool.report.shell_lines import new_train_line, score_line
from fertool.score.guidance.effects import ROAD, Guidance, Outcome, is_of
from fertool.score.guidance.sweeps import OWN
from fertool.score.guidance.verdict import signed, verdicts_of

QUESTION = "Does attention guidance help, and did it move the model or the map?"
TEST = "95% intervals of differences to lambda 0, paired over faces"
MERIT_PREFIXES = ("Accuracy:", "Robustness (mCE):", "Own less shuffled")


def does_guidance_help(evidence: Evidence, _: ChanceLevels) -> Answer:
    """The verdict on each lambda of each sweep, then what it did to faithfulness, accuracy and robustness."""
    sweeps = evidence.guidance
    sentences = [sentence for guidance in sweeps for sentence in _sweep_sentences(guidance)]
    return Answer("guidance-answer", QUESTION, sentences, _missing(evidence, sweeps, sentences))


def _sweep_sentences(guidance: Guidance) -> list[Sentence]:
    sentences = []
    outcomes = {
        outcome.condition.weight: outcome
        for outcome in guidance.outcomes
        if outcome.condition.masks == OWN and outcome.change
    }
    for verdict in verdicts_of(guidance):
        merit = [text for text in verdict.sentences[1:] if text.startswith(MERIT_PREFIXES)]
        faithful = faithfulness_sentence(guidance, outcomes[verdict.weight])
        text = " ".join([verdict.sentences[0], *([faithful] if faithful else []), *merit])
        sentences.append(Sentence(f"{guidance.sweep.name}, lambda {verdict.weight:g}: {text}", TEST))
    return sentences


def faithfulness_sentence(guidance: Guidance, outcome: Outcome) -> str:
    """Whether the map of the explainer that guided tells more of the model (ROAD), else of the one it is a kind of.

    Nothing where neither was scored.
    """
    guiding = guidance.sweep.explainer
    changes = {
        measure: outcome.change[measure.name]
        for explainer in (guiding, guiding.partition("-")[0])
        for measure in guidance.measures
        if measure.kind is ROAD and measure.explainer is not None and is_of(measure.explainer, explainer)
    }
    words = {1: "more faithful", -1: "less faithful", 0: "not shown to be more or less faithful"}
    for measure, change in changes.items():
        if change.direction is not None:
            what = f"the map of {measure.variant} is {words[change.direction]}"
            return f"Interpretability: {what} (ROAD, {signed(change, ROAD)} points)."
    return ""


def _missing(evidence: Evidence, sweeps: list[Guidance], sentences: list[Sentence]) -> list[Missing]:
    if not sweeps:
        lines = (
            new_train_line("cnn", guide="background", guide_weight="0,0.3,1"),
            new_train_line("cnn", guide="background", guide_weight="0.3,1", guide_masks="shuffled"),
            score_line(
                ["classification", "attention", "causal", "faithfulness", "robustness"], target="label"
            ),
        )
        return [Missing("no run was guided beside one that was not", lines)]
    missing = []
    guided = {
        run.name for guidance in sweeps for condition in guidance.sweep.conditions for run in condition.runs
    }
    for guidance in sweeps:
        explainer = guidance.sweep.explainer
        runs = {run.name for condition in guidance.sweep.conditions for run in condition.runs}
        if not runs <= _explained(evidence, explainer):
            line = score_line(["attention"], explainer=explainer, split=evidence.split)
            missing.append(
                Missing(f"the map that guided is not scored for all runs of {guidance.sweep.name}", (line,))
            )
    for suite, what in (("causal", "what the model rests on"), ("robustness", "robustness")):
        found = evidence.suite(suite)
        scored = set() if found is None else {run["run"] for run in found.scores}
        if not guided <= scored:
            line = score_line([suite], target="label" if suite == "causal" else None, split=evidence.split)
            missing.append(Missing(f"{what} is not scored for all of the sweep's runs", (line,)))
    return missing if sentences or missing else []


def _explained(evidence: Evidence, explainer: str) -> set[str]:
    """The runs whose maps by an explainer, with any options and of any target, are scored."""
    return {
        run["run"]
        for found in evidence.gathered
        if found.suite.name == "attention" and is_of(found.settings.request.key, explainer)
        for run in found.scores
    }
