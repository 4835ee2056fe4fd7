"""The questions of the study, answered by rules from stored figures: a module a question."""

from collections.abc import Callable

from fertool.report.answers.answer import Answer
from fertool.report.answers.emotions import which_emotion_is_read_where
from fertool.report.answers.evidence_moves import does_face_recognition_move_the_evidence
from fertool.report.answers.failures import where_do_the_models_fail
from fertool.report.answers.globality import are_transformers_more_global
from fertool.report.answers.guidance import does_guidance_help
from fertool.report.answers.recognition import does_pretraining_help
from fertool.report.answers.truthfulness import do_the_maps_tell_the_truth
from fertool.report.chance import ChanceLevels
from fertool.report.evidence import Evidence

QUESTIONS: tuple[Callable[[Evidence, ChanceLevels], Answer], ...] = (
    does_pretraining_help,
    does_face_recognition_move_the_evidence,
    are_transformers_more_global,
    does_guidance_help,
    do_the_maps_tell_the_truth,
    which_emotion_is_read_where,
    where_do_the_models_fail,
)


def answer_all(evidence: Evidence, chance: ChanceLevels) -> list[Answer]:
    """The answers to all questions, in their order."""
    return [answer(evidence, chance) for answer in QUESTIONS]
