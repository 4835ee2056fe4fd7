"""Does face-recognition pretraining move the evidence: by share, by lift and by causal weight?

The description that fertool grew from expected identity features to look at eyes and nose, away from the mouth; its
example row gives the eyes 40% and the mouth 12%.
"""

from collections.abc import Mapping, Sequence

from fertool.masks.regions import REGIONS
from fertool.report.answers.answer import Answer, Missing, Sentence, left_out, paired
from fertool.report.answers.recognition import EXAMPLES, frozen_clause
from fertool.report.chance import ChanceLevels
from fertool.report.conditions import FACE_RECOGNITION, FROM_SCRATCH
from fertool.report.evidence import Evidence, differences, estimates
from fertool.report.headline import fair_view
from fertool.report.pairs import Pair, pretraining_pairs
from fertool.report.shell_lines import new_train_line, score_line, train_line
from fertool.report.words import listed, percent, points, signed
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.intervals import Resampled
from fertool.score.statistics.scales import POSITIVE, PROPORTION, UNBOUNDED, Scale

QUESTION = "Does face-recognition pretraining move the evidence?"
EXPECTED = {"eyes": 0.40, "mouth": 0.12}  # shares in that example row, of VGGFace
REGIONS_OF_INTEREST = ("eyes", "nose", "mouth")

Moves = Mapping[str, Estimate]  # differences by region, face recognition less scratch


def does_face_recognition_move_the_evidence(evidence: Evidence, chance: ChanceLevels) -> Answer:
    """Differences in share, lift and causal weight of eyes, nose and mouth."""
    pairs = [
        pair for pair in pretraining_pairs(evidence.conditions) if pair.one.pretraining == FACE_RECOGNITION
    ]
    sentences: list[Sentence] = []
    missing: list[Missing] = []
    untrusted: list[str] = []
    for pair in pairs:
        guessing = [
            condition.name for condition in (pair.one, pair.other) if not chance.is_trusted(condition)
        ]
        untrusted += guessing
        if not guessing:
            sentences += _compare(evidence, pair)
            missing += _missing_scores(evidence, pair)
    if pairs and not sentences:
        missing.append(_longer_trainings(pairs, untrusted))
    sentences += left_out(list(dict.fromkeys(untrusted)))
    if not pairs:
        model, weights = EXAMPLES[FACE_RECOGNITION]
        lines = [new_train_line(model, weights=choice) for choice in (weights, FROM_SCRATCH)]
        missing.append(
            Missing(
                "no network pretrained on face recognition stands beside the same network from scratch",
                (*lines, score_line(["attention", "causal"])),
            )
        )
    return Answer("evidence-moves", QUESTION, sentences, missing)


def _compare(evidence: Evidence, pair: Pair) -> list[Sentence]:
    moves: dict[str, Moves] = {}
    sentences = []
    view = fair_view(evidence, pair.one, pair.other)
    if view is not None:
        shares = evidence.shares(view, [pair.one, pair.other])
        lifts = evidence.lifts(view, [pair.one, pair.other])
        if shares is not None and lifts is not None:
            faces = evidence.map_faces(view, [pair.one, pair.other])
            test = paired(faces, several_seeds=pair.has_several_seeds)
            moves["share"] = _moves(shares[0], shares[1], PROPORTION)
            sentences.append(Sentence(f"{move_sentence(pair, 'share', moves['share'])} ({view.name}.)", test))
            sentences.append(
                Sentence(move_sentence(pair, "lift", _moves(lifts[0], lifts[1], POSITIVE)), test)
            )
            sentences.append(Sentence(expectation_sentence(pair, _region_moves(shares[0]))))
    weights = [evidence.causal_weights(condition) for condition in (pair.one, pair.other)]
    if weights[0] is not None and weights[1] is not None:
        moves["causal weight"] = _moves(weights[0], weights[1])
        faces = min(evidence.causal_faces(condition) for condition in (pair.one, pair.other))
        test = paired(faces, several_seeds=pair.has_several_seeds)
        sentences.append(Sentence(move_sentence(pair, "causal weight", moves["causal weight"]), test))
    if len(moves) == 2:
        sentences.append(Sentence(agreement_sentence(*moves.values())))
    return sentences


def _moves(one: Resampled, other: Resampled, scale: Scale = UNBOUNDED) -> Moves:
    return dict(zip(REGIONS, differences(one, other, scale), strict=True))


def _region_moves(means: Resampled) -> Moves:
    return dict(zip(REGIONS, estimates(means, PROPORTION), strict=True))


def move_sentence(pair: Pair, measure: str, moves: Moves) -> str:
    """The gains and losses of eyes, nose and mouth, by one measure, as far as intervals show."""
    write = signed if measure == "lift" else points
    found: dict[int, list[str]] = {}
    for region in REGIONS_OF_INTEREST:
        direction = moves[region].direction
        if direction is not None:
            found.setdefault(direction, []).append(f"the {region} ({write(moves[region])})")
    words = {1: "rests more on {}", -1: "rests less on {}", 0: "shows no move on {}"}
    parts = [words[direction].format(listed(found[direction])) for direction in words if direction in found]
    return (
        f"{pair.one.model} pretrained on face recognition{frozen_clause(pair.one)} {listed(parts)}, by {measure} and "
        f"against the same network from scratch; {pair.seeds_each}{pair.caveat}."
    )


def agreement_sentence(by_share: Moves, by_weight: Moves) -> str:
    """Whether maps and causes tell the same of eyes, nose and mouth."""
    opposed = [
        region
        for region in REGIONS_OF_INTEREST
        if (by_share[region].direction or 0) * (by_weight[region].direction or 0) == -1
    ]
    if opposed:
        return (
            f"Share and causal weight disagree about {listed(_named(opposed))}: the map moved one way and what the "
            "answers rest on the other. Believe the causal weight, which is of the model itself."
        )
    alike = [
        region
        for region in REGIONS_OF_INTEREST
        if by_share[region].direction and by_share[region].direction == by_weight[region].direction
    ]
    if alike:
        return f"Share and causal weight agree about {listed(_named(alike))}."
    return "Share and causal weight show no move of the same region, so the two cannot confirm each other."


def _named(regions: Sequence[str]) -> list[str]:
    return [f"the {region}" for region in regions]


def expectation_sentence(pair: Pair, shares: Moves) -> str:
    """The description's example row beside what was measured."""
    parts = []
    for region, expected in EXPECTED.items():
        share = shares[region]
        word = "as expected" if share.low <= expected <= share.high else "not as expected"
        parts.append(f"the {region} {percent(share)} ({word}: {expected:.0%})")
    return (
        f"Beside the example of the description that fertool grew from, which nobody measured, {pair.one.name} gives "
        f"{listed(parts)}."
    )


def _longer_trainings(pairs: Sequence[Pair], untrusted: Sequence[str]) -> Missing:
    conditions = {condition.name: condition for pair in pairs for condition in (pair.one, pair.other)}
    lines = [
        train_line(condition.config, epochs=2 * condition.config["epochs"])
        for name, condition in conditions.items()
        if name in untrusted
    ]
    return Missing(
        "no network pretrained on face recognition and the same network from scratch are both shown to be better than "
        "guessing",
        tuple(lines),
    )


def _missing_scores(evidence: Evidence, pair: Pair) -> Sequence[Missing]:
    missing = []
    both = (pair.one, pair.other)
    if fair_view(evidence, *both) is None:
        what = f"{pair.one.name} and {pair.other.name} have no maps on one grid"
        missing.append(Missing(what, (score_line(["attention"], split=evidence.split),)))
    if any(evidence.causal_weights(condition) is None for condition in both):
        what = f"the causal weights of {pair.one.name} and {pair.other.name} are not scored"
        missing.append(Missing(what, (score_line(["causal"], split=evidence.split),)))
    return missing
