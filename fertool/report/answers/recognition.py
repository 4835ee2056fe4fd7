"""Does pretraining help recognition: by how much, from what, and with how many training faces?"""

from fertool.report.answers.answer import Answer, Missing, Sentence, paired
from fertool.report.chance import ChanceLevels
from fertool.report.conditions import FACE_RECOGNITION, FROM_SCRATCH, IMAGENET, Condition
from fertool.report.evidence import Evidence, differences, estimates
from fertool.report.pairs import Pair, pretraining_pairs, without_scratch
from fertool.report.shell_lines import new_train_line, train_line
from fertool.report.words import percent, points
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.scales import PROPORTION

QUESTION = "Does pretraining help recognition?"
# a network whose weights are quick to train on, for a kind of pretraining that is missing altogether
EXAMPLES = {IMAGENET: ("tf_efficientnet_lite0", "imagenet"), FACE_RECOGNITION: ("dlibface", "auto")}


def does_pretraining_help(evidence: Evidence, _: ChanceLevels) -> Answer:
    """The accuracy of each pretrained condition less that of the same network from scratch."""
    pairs = pretraining_pairs(evidence.conditions)
    sentences = [sentence for pair in pairs if (sentence := _compare(evidence, pair))]
    sentences += by_training_faces(pairs, evidence)
    return Answer("pretraining", QUESTION, sentences, _missing(evidence, pairs))


def _compare(evidence: Evidence, pair: Pair) -> Sentence | None:
    one, other = evidence.accuracy(pair.one), evidence.accuracy(pair.other)
    if one is None or other is None:
        return None
    text = accuracy_sentence(
        pair,
        differences(one, other, PROPORTION)[0],
        estimates(one, PROPORTION)[0],
        estimates(other, PROPORTION)[0],
    )
    return Sentence(text, paired(evidence.faces, several_seeds=pair.has_several_seeds))


def accuracy_sentence(pair: Pair, difference: Estimate, one: Estimate, other: Estimate) -> str:
    """Whether pretraining helped, hurt or did neither, as far as the interval of the difference shows."""
    fraction = pair.one.config.get("train_fraction", 1.0)
    faces = "" if fraction == 1 else f" on {fraction:.0%} of the training faces"
    name, source = pair.one.model, f"{pair.one.pretraining}{frozen_clause(pair.one)}"
    against = (
        f"{percent(one)} against {percent(other)} from scratch{faces}: {points(difference)}, "
        f"{pair.seeds_each}{pair.caveat}"
    )
    if difference.direction == 1:
        return f"Pretraining on {source} helps {name}: {against}."
    if difference.direction == -1:
        return f"Pretraining on {source} hurts {name}: {against}."
    return f"Whether pretraining on {source} helps {name} is not shown: {against}."


def frozen_clause(condition: Condition) -> str:
    """A clause behind the pretraining's name that tells a frozen backbone from a fine-tuned one; else empty."""
    return ", with the backbone frozen," if condition.is_frozen else ""


def by_training_faces(pairs: list[Pair], evidence: Evidence) -> list[Sentence]:
    """Where a network was pretrained alike and trained on several parts of the faces: the gain by part."""
    gains: dict[tuple[str, str], dict[float, Estimate]] = {}
    for pair in pairs:
        one, other = evidence.accuracy(pair.one), evidence.accuracy(pair.other)
        if one is not None and other is not None:
            fraction = float(pair.one.config.get("train_fraction", 1.0))
            gain = differences(one, other, PROPORTION)[0]
            source = f"{pair.one.pretraining}{frozen_clause(pair.one)}".removesuffix(",")
            gains.setdefault((pair.one.model, source), {})[fraction] = gain
    return [
        Sentence(fraction_sentence(model, source, gain_by_fraction))
        for (model, source), gain_by_fraction in gains.items()
        if len(gain_by_fraction) > 1
    ]


def fraction_sentence(model: str, source: str, gains: dict[float, Estimate]) -> str:
    """The gain at each part of the training faces, the smallest part first."""
    parts = "; ".join(f"{points(gains[fraction])} at {fraction:.0%}" for fraction in sorted(gains))
    return (
        f"The gain of {model} from pretraining on {source}, by the part of the training faces used: {parts}."
    )


def _missing(evidence: Evidence, pairs: list[Pair]) -> list[Missing]:
    missing = []
    for condition in without_scratch(evidence.conditions):
        line = train_line(
            condition.config,
            seeds=_seeds_like(condition),
            weights="none",
            freeze_epochs=0,
            unfreeze="all",
            backbone_lr=None,
            layer_decay=1.0,
        )
        missing.append(Missing(f"{condition.name} has no run of the same network from scratch", (line,)))
    known = {pair.one.pretraining for pair in pairs} | {
        condition.pretraining for condition in without_scratch(evidence.conditions)
    }
    for source, (model, weights) in EXAMPLES.items():
        if source in known:
            continue
        lines = tuple(new_train_line(model, weights=choice) for choice in (weights, FROM_SCRATCH))
        missing.append(Missing(f"no network was pretrained on {source}", lines))
    return missing


def _seeds_like(condition: Condition) -> str:
    numbers = sorted(run.config()["config"]["seed"] for run in condition.runs)
    return ",".join(map(str, numbers))
