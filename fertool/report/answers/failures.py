"""Where does the model fail: confused pairs and where it looked, leaks, noise of labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.prepare.twins import NEAR
from fertool.report.answers.answer import Answer, Missing, Sentence, left_out
from fertool.report.chance import ChanceLevels
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence, differences, estimates
from fertool.report.shell_lines import score_line
from fertool.report.words import listed, percent, points
from fertool.score.evaluated_run import Columns
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.region_share_tables import FEW_FACES
from fertool.score.suites.region_shares import has_map, shares_in

QUESTION = "Where does the model fail?"
PAIRS_SHOWN = 3
MOST_CONDITIONS = 4  # the most accurate ones


@dataclass(frozen=True)
class Confusion:
    """A true class taken for another one: how many faces in the mean over seeds, and their part of the class."""

    true: str
    predicted: str
    faces: float
    rate: Estimate


def where_do_the_models_fail(evidence: Evidence, chance: ChanceLevels) -> Answer:
    """Name for each condition the most confused pairs and where it looked; then leaks and the crowd."""
    found = evidence.suite("classification")
    if found is None:
        line = score_line(["classification"], split=evidence.split)
        return Answer("failures", QUESTION, [], [Missing("nothing is classified", (line,))])
    scored = [condition for condition in evidence.conditions if evidence.columns(found, condition)]
    trusted = evidence.most_accurate(filter(chance.is_trusted, scored))
    sentences: list[Sentence] = []
    for condition in trusted[:MOST_CONDITIONS]:
        columns = evidence.columns(found, condition)
        confusions = most_confused(columns, evidence)
        sentences.append(Sentence(confusion_sentence(condition.name, confusions)))
        sentences += [
            Sentence(text, "difference between two sets of faces, 95% interval over images and seeds")
            for confusion in confusions[:1]
            if (text := _where_it_looked(evidence, condition, confusion))
        ]
    trained_here = [condition for condition in trusted if not condition.is_adopted]
    for condition in trained_here[:1]:  # leaks and noise are the data's: the best network tells of them
        sentences += _leak_sentences(evidence, condition, evidence.columns(found, condition))
    for condition in trusted[:1]:
        sentences += _crowd_sentences(condition.name, evidence.stored(found, condition))
    untrusted = [condition.name for condition in scored if not chance.is_trusted(condition)]
    return Answer("failures", QUESTION, [*sentences, *left_out(untrusted)], _without_crowd(evidence))


def most_confused(columns: Sequence[Columns], evidence: Evidence) -> list[Confusion]:
    """The pairs of true and predicted class with the highest part of the true class, the highest first.

    A class with fewer than FEW_FACES faces does not count.
    """
    classes = evidence.classes
    faces = np.bincount(evidence.labels, minlength=len(classes))
    large = [code for code in range(len(classes)) if faces[code] >= FEW_FACES]
    pairs = [(true, told) for true in large for told in range(len(classes)) if true != told]
    if not pairs:
        return []

    def taken(run_columns: Columns) -> np.ndarray:
        return np.stack(
            [
                np.where(run_columns["label"] == true, run_columns["predicted"] == told, np.nan)
                for true, told in pairs
            ],
            axis=1,
        )

    values = np.stack([taken(run_columns) for run_columns in columns])
    rates = estimates(resample_means(values, evidence.clusters), PROPORTION)
    counts = np.nansum(values, axis=1).mean(axis=0)
    confusions = [
        Confusion(classes[true], classes[told], float(count), rate)
        for (true, told), rate, count in zip(pairs, rates, counts, strict=True)
        if rate.value > 0
    ]
    return sorted(confusions, key=lambda confusion: -confusion.rate.value)[:PAIRS_SHOWN]


def confusion_sentence(name: str, confusions: Sequence[Confusion]) -> str:
    """The most confused pairs of a condition."""
    if not confusions:
        return f"{name} confuses no two emotions, or no emotion has faces enough ({FEW_FACES}) to tell."
    parts = [
        f"{confusion.true} for {confusion.predicted} ({percent(confusion.rate)} of its faces)"
        for confusion in confusions
    ]
    return f"{name} most often takes {listed(parts)}."


def _where_it_looked(evidence: Evidence, condition: Condition, confusion: Confusion) -> str:
    view = evidence.main_view(condition)
    columns = evidence.columns(view.gathered, condition) if view else []
    if not columns:
        return ""
    true, told = (evidence.classes.index(name) for name in (confusion.true, confusion.predicted))

    def shares(run_columns: Columns, predicted: int) -> np.ndarray:
        these = (
            has_map(run_columns) & (run_columns["label"] == true) & (run_columns["predicted"] == predicted)
        )
        return np.where(these[:, None], shares_in(run_columns), np.nan)

    wrong, right = (np.stack([shares(run_columns, code) for run_columns in columns]) for code in (told, true))
    counts = [int(np.isfinite(values[..., 0]).sum(axis=1).min()) for values in (wrong, right)]
    if min(counts) < FEW_FACES:
        return ""
    moves = differences(
        resample_means(wrong, evidence.clusters), resample_means(right, evidence.clusters), PROPORTION
    )
    return looked_sentence(condition.name, confusion, dict(zip(REGIONS, moves, strict=True)))


def looked_sentence(name: str, confusion: Confusion, moves: dict[str, Estimate]) -> str:
    """Where a condition looked on confused faces, against faces of the same class that it got right."""
    shown = {region: move for region, move in moves.items() if move.direction in (-1, 1)}
    what = f"the faces of {confusion.true} that {name} takes for {confusion.predicted}"
    if not shown:
        return f"On {what} its maps are not shown to lie elsewhere than on those that it gets right."
    parts = [
        f"{'more' if move.value > 0 else 'less'} on the {region} ({points(move)})"
        for region, move in shown.items()
    ]
    return f"On {what} its maps lie {listed(parts)} than on those that it gets right."


def _leak_sentences(evidence: Evidence, condition: Condition, columns: Sequence[Columns]) -> list[Sentence]:
    if condition.is_adopted:  # it did not train on this train split
        return []
    correct = np.stack([run_columns["correct"] for run_columns in columns])
    left_out = condition.config.get("drop_leaks")
    sentences = []
    for kind, column in (("identical", "twin_in_train"), (NEAR, "near_twin_in_train")):
        if any(column not in run_columns for run_columns in columns):
            continue
        leaked = columns[0][column] == 1
        if leaked.sum() < FEW_FACES or leaked.all():
            continue
        means = [
            resample_means(np.where(faces, correct, np.nan)[..., None], evidence.clusters)
            for faces in (leaked, ~leaked)
        ]
        dropped = left_out == NEAR or (kind != NEAR and bool(left_out))
        difference = differences(means[0], means[1], PROPORTION)[0]
        text = leak_sentence(condition.name, int(leaked.sum()), difference, kind=kind, dropped=dropped)
        sentences.append(Sentence(text, "95% interval over images and seeds"))
    return sentences


def leak_sentence(
    name: str, faces: int, difference: Estimate, *, kind: str = "identical", dropped: bool
) -> str:
    """The effect on the accuracy of faces with a twin in train.

    Args:
        name: the condition.
        faces: how many such faces there are.
        difference: their accuracy less that of the others.
        kind: the twins: identical, or near, which takes the identical ones in.
        dropped: whether the training left the twins out.
    """
    trained = "which its training left out" if dropped else "which it trained on"
    found = {1: "more accurate on them than on", -1: "less accurate on them than on"}
    words = found.get(difference.direction or 0, "not shown to differ between them and")
    twin = "a near twin" if kind == NEAR else "an identical twin"
    return (
        f"{faces:,} faces have {twin} in train, {trained}: {name} is {words} the others "
        f"({points(difference)})."
    )


def _crowd_sentences(name: str, known: Sequence[dict[str, Any]]) -> list[Sentence]:
    sides = [run["ferplus"] for run in known if run.get("ferplus")]
    if not sides or any(side is None for run_sides in sides for side in run_sides.values()):
        return []
    crowd, own = (
        float(np.mean([list(run_sides.values())[side]["accuracy"] for run_sides in sides])) for side in (0, 1)
    )
    faces = int(next(iter(sides[0].values()))["faces"])
    return [Sentence(crowd_sentence(name, faces, crowd, own))]


def crowd_sentence(name: str, faces: int, crowd: float, own: float) -> str:
    """How much of the error is noise of the labels: accuracy by the crowd's and by the labels used."""
    word = "more" if crowd > own else "less"
    return (
        f"On the {faces:,} faces on which FER+'s crowd agreed, {name} agrees {word} often with the crowd ({crowd:.1%}) "
        f"than with the labels used ({own:.1%}): a difference that comes from the labels and not from the model."
    )


def _without_crowd(evidence: Evidence) -> list[Missing]:
    known = evidence.suite("classification")
    is_fer2013 = "FER2013" in str(evidence.dataset["name"])
    if known is None or not is_fer2013 or any("ferplus" in run for run in known.scores):
        return []
    source = str(evidence.dataset["source"]["name"])
    line = f"fertool prepare {source} --ferplus fer2013new.csv"
    return [Missing("nothing is known of the labels' noise without the crowd's votes", (line,))]
