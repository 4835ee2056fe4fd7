"""The regions where each emotion is read, beside the action units that make it up."""

from collections.abc import Mapping

from fertool.masks.action_units import LANDMARKS
from fertool.masks.emfacs import EMFACS
from fertool.masks.landmarks import PARTS
from fertool.report.answers.answer import Answer, Missing, Sentence, left_out
from fertool.report.chance import NOT_ABOVE_BLOB, ChanceLevels
from fertool.report.evidence import Evidence
from fertool.report.shell_lines import score_line
from fertool.report.words import listed, plain
from fertool.score.guidance.effects import Estimate

QUESTION = "Which emotion is read where?"
FEATURES = ("eyes", "eyebrows", "nose", "mouth")
MOST_CONDITIONS = 4  # in words; the section of the maps shows all
TEST = "lift over the faces of the emotion, 95% interval over images and seeds; counted where it lies above 1"


def which_emotion_is_read_where(evidence: Evidence, chance: ChanceLevels) -> Answer:
    """Name for each condition the feature of the face with the highest lift, emotion by emotion."""
    sentences = []
    for condition in evidence.most_accurate(filter(chance.is_trusted, evidence.conditions))[:MOST_CONDITIONS]:
        view = evidence.main_view(condition)
        by_emotion = evidence.lifts_by_class(view, condition) if view else {}
        if view is not None and by_emotion:
            beyond = chance.beyond_blob_by_class(condition, view)
            text = reading_sentence(condition.name, by_emotion, beyond)
            sentences.append(Sentence(f"{text} ({view.name}.)", TEST))
    missing = []
    untrusted = [condition.name for condition in evidence.conditions if not chance.is_trusted(condition)]
    if not evidence.views:
        missing = [Missing("no attention is scored", (score_line(["attention"], split=evidence.split),))]
    return Answer("emotions", QUESTION, [*sentences, *left_out(untrusted)], missing)


def reading_sentence(
    name: str,
    by_emotion: Mapping[str, Mapping[str, Estimate]],
    beyond_blob: Mapping[str, Mapping[str, Estimate]],
) -> str:
    """Where a condition reads each emotion, whether one of its action units lies there, and whether a blob would.

    Args:
        name: what the condition is called.
        by_emotion: its lifts by emotion and region.
        beyond_blob: its shares less those of a blob in the middle, by emotion and region.
    """
    places = {emotion: place for emotion, lifts in by_emotion.items() if (place := highest_feature(lifts))}
    without = [emotion for emotion in by_emotion if emotion not in places]
    parts = [
        f"{emotion} at the {region} (lift {plain(by_emotion[emotion][region])}{_beside_units(emotion, region)}"
        f"{'' if beyond_blob[emotion][region].direction == 1 else '; ' + NOT_ABOVE_BLOB})"
        for emotion, region in places.items()
    ]
    sentence = (
        f"{name} reads {'; '.join(parts)}." if parts else f"{name} reads no emotion at a feature of the face."
    )
    if parts and without:
        sentence += f" No feature has a lift above 1 for {listed(without)}."
    return sentence


def highest_feature(lifts: Mapping[str, Estimate]) -> str | None:
    """The feature with the highest lift among those whose interval lies above 1; None where there is none."""
    above = [region for region in FEATURES if lifts[region].low > 1]
    return max(above, key=lambda region: lifts[region].value, default=None)


def _beside_units(emotion: str, region: str) -> str:
    regions = action_unit_regions(emotion)
    if not regions:
        return ""
    units = ", ".join(map(str, EMFACS[emotion]))
    if region in regions:
        return f", as its action units {units}"
    return f"; its action units {units} lie at {listed(regions)}"


def action_unit_regions(emotion: str) -> list[str]:
    """The features of the face where an emotion's action units show; none for one that EMFACS does not know."""
    points = {point for unit in EMFACS.get(emotion, {}) for point in LANDMARKS[unit]}
    feature_points = {region: range(68)[PARTS[region]] for region in FEATURES}
    return [region for region, its_points in feature_points.items() if points & set(its_points)]
