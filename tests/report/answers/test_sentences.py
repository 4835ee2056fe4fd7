"""Each sentence of an answer: an example in which it must appear, and one in which it must not."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fertool.report.answers.answer import Answer, Missing, Sentence, left_out
from fertool.report.answers.emotions import action_unit_regions, highest_feature, reading_sentence
from fertool.report.answers.evidence_moves import (
    agreement_sentence,
    does_face_recognition_move_the_evidence,
    expectation_sentence,
    move_sentence,
)
from fertool.report.answers.failures import (
    Confusion,
    _leak_sentences,
    confusion_sentence,
    crowd_sentence,
    leak_sentence,
    looked_sentence,
)
from fertool.report.answers.globality import globality_sentence, globality_summary, globality_verdict
from fertool.report.answers.guidance import does_guidance_help, faithfulness_sentence
from fertool.report.answers.recognition import accuracy_sentence, fraction_sentence
from fertool.report.answers.truthfulness import (
    MOST_IN_FULL,
    MapTests,
    do_the_maps_tell_the_truth,
    planted_sentence,
    truth_sentence,
    truth_summary,
)
from fertool.report.conditions import Condition
from fertool.report.pairs import Pair
from fertool.report.words import listed
from fertool.score.guidance.effects import ROAD, Estimate, Guidance, Measure, Outcome
from fertool.score.guidance.sweeps import Condition as SweepCondition
from fertool.score.guidance.sweeps import Sweep
from fertool.workspace import Run

UP, DOWN, OPEN = Estimate(0.05, 0.03, 0.07), Estimate(-0.05, -0.07, -0.03), Estimate(0.01, -0.02, 0.04)
FIGURE = Estimate(0.6, 0.58, 0.62)


def condition(name: str = "net", seeds: int = 2, **record: object) -> Condition:
    config = {"guide": None, "train_fraction": 1.0, "epochs": 5} | dict(record.pop("config", {}))
    full = {"model": "net", "family": "cnn", "weights": "none", "config": config} | record
    return Condition(name, "a", tuple(Run(Path(f"{name}-s{s}")) for s in range(seeds)), full)


def pair(seeds: int = 2, also_differ: tuple[str, ...] = (), **config: object) -> Pair:
    one = condition("net on faces", seeds, weights="dlibface", config=config)
    return Pair(one, condition("net", seeds, config=config), also_differ)


@pytest.mark.parametrize(
    ("difference", "begins"),
    [
        (UP, "Pretraining on face recognition helps net:"),
        (DOWN, "Pretraining on face recognition hurts net:"),
        (OPEN, "Whether pretraining on face recognition helps net is not shown:"),
    ],
)
def test_pretraining_helps_or_hurts_where_the_interval_shows_it(difference: Estimate, begins: str) -> None:
    text = accuracy_sentence(pair(), difference, FIGURE, FIGURE)
    assert text.startswith(begins)
    for other in (UP, DOWN, OPEN):
        assert accuracy_sentence(pair(), other, FIGURE, FIGURE).startswith(begins) == (other is difference)


def test_an_accuracy_names_the_part_of_the_training_faces_only_where_it_is_a_part() -> None:
    part = accuracy_sentence(pair(train_fraction=0.1), UP, FIGURE, FIGURE)
    assert "on 10% of the training faces" in part
    assert "of the training faces" not in accuracy_sentence(pair(), UP, FIGURE, FIGURE)


def test_a_frozen_backbone_is_told_from_a_fine_tuned_one() -> None:
    begins = "Pretraining on face recognition, with the backbone frozen, hurts net:"
    assert accuracy_sentence(pair(unfreeze="none"), DOWN, FIGURE, FIGURE).startswith(begins)
    assert "frozen" not in accuracy_sentence(pair(unfreeze="all"), DOWN, FIGURE, FIGURE)
    moved = move_sentence(pair(unfreeze="none"), "share", moves(mouth=DOWN))
    assert moved.startswith(
        "net pretrained on face recognition, with the backbone frozen, rests less on the mouth (-5.0 points"
    )


def test_other_settings_that_differ_are_named() -> None:
    assert "(they also differ in image size)" in accuracy_sentence(
        pair(also_differ=("image_size",)), UP, FIGURE, FIGURE
    )
    assert "differ in" not in accuracy_sentence(pair(), UP, FIGURE, FIGURE)


def test_one_seed_each_compares_networks_and_not_methods() -> None:
    assert "two networks are compared and not two methods" in pair(seeds=1).seeds_each
    assert pair(seeds=2).seeds_each == "two seeds each"
    mixed = Pair(condition(seeds=1), condition(seeds=3), ())
    assert mixed.seeds_each == "one seed against three seeds"


def test_gains_stand_by_the_part_of_the_faces_the_smallest_first() -> None:
    text = fraction_sentence("net", "ImageNet", {1.0: OPEN, 0.1: UP})
    assert text.index("at 10%") < text.index("at 100%")


def moves(**by_region: Estimate) -> dict[str, Estimate]:
    return {"eyes": OPEN, "nose": OPEN, "mouth": OPEN} | by_region


def test_a_move_is_told_by_its_direction() -> None:
    text = move_sentence(pair(), "share", moves(eyes=UP, mouth=DOWN))
    assert "more on the eyes (+5.0 points" in text and "less on the mouth (-5.0 points" in text
    assert text.startswith("net pretrained on face recognition rests more on the eyes")
    assert "and shows no move on the nose" in text
    still = move_sentence(pair(), "lift", moves())
    assert "more on" not in still and "less on" not in still and "points" not in still


def test_shares_and_causes_disagree_only_where_they_move_oppositely() -> None:
    assert "disagree about the eyes" in agreement_sentence(moves(eyes=UP), moves(eyes=DOWN))
    assert "agree about the eyes" in agreement_sentence(moves(eyes=UP), moves(eyes=UP))
    assert "disagree" not in agreement_sentence(moves(eyes=UP), moves(eyes=UP))
    neither = agreement_sentence(moves(eyes=UP), moves(nose=UP))
    assert "no move of the same region" in neither and "disagree" not in neither


def test_the_page_s_example_is_as_expected_only_within_the_interval() -> None:
    text = expectation_sentence(
        pair(), {"eyes": Estimate(0.4, 0.35, 0.45), "mouth": Estimate(0.3, 0.25, 0.35)}
    )
    assert "eyes 40.0% [35.0, 45.0] (as expected: 40%)" in text
    assert "mouth 30.0% [25.0, 35.0] (not as expected: 12%)" in text


@pytest.mark.parametrize(
    ("extent", "entropy", "says"),
    [
        (UP, UP, "looks more globally than"),
        (DOWN, DOWN, "looks more locally than"),
        (UP, DOWN, "Extent and entropy disagree"),
        (UP, OPEN, "is not shown by both measures"),
    ],
)
def test_a_transformer_is_more_global_only_where_both_measures_show_it(
    extent: Estimate, entropy: Estimate, says: str
) -> None:
    text = globality_sentence(pair(), "gradcam", extent, entropy, OPEN)
    assert says in text and "not shown to differ" in text
    assert text.startswith("net on faces (transformer) looks more globally") == (
        extent is UP and entropy is UP
    )


def test_many_comparisons_of_a_transformer_are_summed_up() -> None:
    measures = {"a": (DOWN, DOWN), "b": (UP, UP), "c": (DOWN, DOWN), "d": (UP, DOWN), "e": (DOWN, OPEN)}
    verdicts = {name: globality_verdict(*both) for name, both in measures.items()}
    assert globality_summary("vit", verdicts) == (
        "vit (transformer) looks more locally than a and c, looks more globally than b and is not shown to do either "
        "beside d and e."
    )
    # many are counted
    more = verdicts | dict.fromkeys("fgh", verdicts["a"])
    assert globality_summary("vit", more).startswith(
        "vit (transformer) looks more locally than 5 of 8 CNNs, "
    )
    assert globality_summary("vit", {"a": verdicts["a"]}) == "vit (transformer) looks more locally than a."


def test_a_map_is_trusted_only_where_every_test_is_passed() -> None:
    passed = truth_sentence("gradcam for net", [], [], True, UP)
    assert passed.startswith("The map of gradcam for net passes the tests that were made")
    assert "cannot be trusted" not in passed
    for failed in (
        truth_sentence("m", ["centre"], [], True, UP),
        truth_sentence("m", [], ["edges"], True, UP),
        truth_sentence("m", [], [], False, UP),
    ):
        assert "cannot be trusted as it is" in failed and "It does pass this" in failed
    assert "not shown to be more faithful than centre" in truth_sentence("m", ["centre"], None, None, None)
    only_sane = truth_sentence("m", None, None, True, None)
    assert "faithful" not in only_sane and "agreement" not in only_sane


def test_many_maps_are_summed_up_by_explainer_the_most_truthful_first() -> None:
    tested = [
        *(MapTests("gradcam", f"net{n}", n > 0, n > 1, True) for n in range(4)),
        *(MapTests("rise", f"net{n}", True, n > 0, None) for n in range(4)),
        *(MapTests("hirescam", f"net{n}", False, None, n > 0) for n in range(3)),
        MapTests("rollout", "vit", True, True, True),
    ]
    assert truth_summary(tested) == [
        "Every test that was made is passed by the maps of rollout for its one network, rise for 3 of 4 networks and "
        "gradcam for 2 of 4 networks; no map of hirescam passes every one.",
        "rollout: more faithful than every null map for 1 of 1, nearer to the causes than every null map for "
        "1 of 1 and changed by random weights for 1 of 1.",
        "rise: more faithful than every null map for 4 of 4 and nearer to the causes than every null map for "
        "3 of 4.",
        "gradcam: more faithful than every null map for 3 of 4, nearer to the causes than every null map for "
        "2 of 4 and changed by random weights for 4 of 4.",
        "hirescam: more faithful than every null map for 0 of 3 and changed by random weights for 2 of 3.",
    ]
    of_all = truth_summary([MapTests("rise", f"net{n}", True, None, None) for n in range(3)])
    assert of_all[0] == "Every test that was made is passed by the maps of rise for all 3 networks."
    of_none = truth_summary([MapTests(name, "net", None, False, None) for name in ("rise", "gradcam")])
    assert of_none[0] == "No map of rise or gradcam passes every test that was made."


@pytest.mark.parametrize("count", [MOST_IN_FULL, MOST_IN_FULL + 1])
def test_each_map_has_its_sentence_behind_the_sum_of_many(made_up: Callable[[], Any], count: int) -> None:
    evidence = made_up()
    for number in range(count):
        evidence.add(f"net{number}", not_faithful=["centre"] if number else [], no_agreement=[])
    answer = do_the_maps_tell_the_truth(evidence, evidence)
    many = count > MOST_IN_FULL
    maps = answer.details if many else answer.main_sentences
    assert len(maps) == count and maps[0].text.startswith("The map of gradcam for net0 passes")
    assert sum("cannot be trusted" in map_.text for map_ in maps) == count - 1
    if many:
        first, gradcam = (sentence.text for sentence in answer.main_sentences)
        assert (
            first == f"Every test that was made is passed by the maps of gradcam for 1 of {count} networks."
        )
        assert gradcam.startswith(f"gradcam: more faithful than every null map for 1 of {count} and")
    (missing,) = answer.missing
    assert missing.lines == ("fertool score --explainer gradcam --suite sanity --target label",)
    assert [missing.what] == ["sanity was not scored, or without null maps, for gradcam of every condition"]


@pytest.mark.parametrize(("seed", "options"), [(0, "--faces 30"), (3, "--faces 30 --seed 3")])
def test_scores_of_a_sample_are_to_be_made_of_the_same(
    made_up: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, seed: int, options: str
) -> None:
    evidence = made_up()
    evidence.add("net", not_faithful=[], no_agreement=[])
    (view,) = evidence.views
    for run in view.gathered.scores:
        run["sample"] = {"faces": 30, "seed": seed}
    monkeypatch.setattr(evidence, "views_with", lambda condition: [view])
    (missing,) = do_the_maps_tell_the_truth(evidence, evidence).missing
    assert missing.lines == (f"fertool score --explainer gradcam --suite sanity --target label {options}",)


def test_details_come_last_and_each_sentence_once() -> None:
    answer = Answer(
        "anchor",
        "Question?",
        [Sentence("Details.", "a test", is_detail=True), Sentence("Sum.", "its test")],
        [Missing("no scores", ("fertool score",))],
    )
    assert answer.markdown.split("\n\n") == [
        "## Question?",
        "Sum. (its test)",
        "Cannot be answered from these runs: no scores; run:",
        "    fertool score",
        "### In detail",
        "Details. (a test)\n",
    ]


def test_planted_evidence_is_found_where_the_interval_is_above_chance() -> None:
    figures = {"auc": 0.7, "intervals": {"auc": [0.6, 0.8]}}
    assert "finds it" in planted_sentence("m", "evidence", figures)
    figures = {"auc": 0.55, "intervals": {"auc": [0.45, 0.65]}}
    assert "not shown to find it" in planted_sentence("m", "evidence", figures)
    assert planted_sentence("m", "evidence", {"auc": 0.7, "intervals": {"auc": [None, None]}}) == ""


def lifts(**by_region: Estimate) -> dict[str, Estimate]:
    return dict.fromkeys(("eyes", "eyebrows", "nose", "mouth"), Estimate(1, 0.9, 1.1)) | by_region


def test_an_emotion_is_read_where_the_lift_is_above_one() -> None:
    high, higher = Estimate(1.5, 1.2, 1.8), Estimate(2, 1.5, 2.5)
    assert highest_feature(lifts(nose=high, mouth=higher)) == "mouth"
    assert highest_feature(lifts(mouth=Estimate(2, 0.9, 3))) is None
    beyond = {emotion: moves(mouth=UP) for emotion in ("happy", "sad", "fear")}
    by_emotion = {"happy": lifts(mouth=high), "sad": lifts(eyes=high), "fear": lifts()}
    text = reading_sentence("net", by_emotion, beyond)
    happy, sad = text.split(";", 1)
    assert "happy at the mouth (lift 1.50 [1.20, 1.80], as its action units" in happy and "blob" not in happy
    assert "sad at the eyes" in sad and "its action units 1, 4, 15 lie at eyebrows, nose and mouth" in sad
    assert "nose and mouth; not above a blob in the middle)" in sad
    assert "No feature has a lift above 1 for fear." in text
    assert (
        reading_sentence("net", {"fear": lifts()}, beyond) == "net reads no emotion at a feature of the face."
    )
    assert action_unit_regions("neutral") == [] and action_unit_regions("happy") == ["eyes", "mouth"]


def test_confusions_and_where_the_maps_lay_on_them() -> None:
    confusion = Confusion("fear", "sad", 40, Estimate(0.3, 0.2, 0.4))
    assert "takes fear for sad (30.0% [20.0, 40.0] of its faces)" in confusion_sentence("net", [confusion])
    assert confusion_sentence("net", []).startswith("net confuses no two emotions")
    text = looked_sentence("net", confusion, moves(eyes=UP, mouth=DOWN))
    assert "more on the eyes (+5.0 points" in text and "less on the mouth" in text and "nose" not in text
    assert "not shown to lie elsewhere" in looked_sentence("net", confusion, moves())


def test_an_adopted_network_is_not_said_to_have_trained_on_this_train_split(made_up) -> None:
    columns = {"twin_in_train": np.repeat([1.0, 0.0], [40, 160]), "correct": np.arange(200) % 2 * 1.0}
    evidence = made_up()
    evidence.clusters = np.arange(200)
    trained, adopted = evidence.add("trained"), evidence.add("adopted", epochs=0)
    (sentence,) = _leak_sentences(evidence, trained, [columns])
    assert sentence.text.startswith(
        "40 faces have an identical twin in train, which it trained on: trained is"
    )
    assert _leak_sentences(evidence, adopted, [columns]) == []
    few = {**columns, "twin_in_train": np.repeat([1.0, 0.0], [29, 171])}
    assert _leak_sentences(evidence, trained, [few]) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (UP, "is more faithful (ROAD, "),
        (DOWN, "is less faithful (ROAD, "),
        (OPEN, "is not shown to be more or less faithful (ROAD, "),
    ],
)
def test_guidance_made_the_map_more_faithful_only_where_the_interval_shows_it(
    change: Estimate, says: str
) -> None:
    text = faithfulness_sentence(*sweep({"gradcam-abs": change}))
    assert text.startswith(f"Interpretability: the map of gradcam-abs {says}")
    for other in (UP, DOWN, OPEN):
        assert (says in faithfulness_sentence(*sweep({"gradcam-abs": other}))) == (other is change)


def test_faithfulness_is_told_of_the_guided_explainer_and_only_where_it_was_scored() -> None:
    assert faithfulness_sentence(*sweep({"occlusion": UP})) == ""
    assert faithfulness_sentence(*sweep({})) == ""
    unknown = Estimate(np.nan, np.nan, np.nan)
    assert faithfulness_sentence(*sweep({"gradcam": unknown})) == ""
    assert "gradcam is more" in faithfulness_sentence(*sweep({"occlusion": DOWN, "gradcam": UP}))
    both = faithfulness_sentence(*sweep({"gradcam": UP, "gradcam-abs": DOWN}))
    assert "gradcam-abs is less faithful" in both and "gradcam is" not in both


def sweep(road_changes: dict[str, Estimate]) -> tuple[Guidance, Outcome]:
    """A sweep guided by Grad-CAM, and the outcome of its lambda: the change of ROAD by explainer."""
    measures = [
        Measure(ROAD, explainer, "faithfulness", (), explainer=explainer) for explainer in road_changes
    ]
    changes = dict(zip((measure.name for measure in measures), road_changes.values(), strict=True))
    outcome = Outcome(SweepCondition("own", 1.0, ()), {}, changes, {})
    return Guidance(
        Sweep("cnn", "gradcam-abs", (outcome.condition,), ()), "test", measures, [outcome]
    ), outcome


def test_leaks_and_the_crowd() -> None:
    assert "net is more accurate on them" in leak_sentence("net", 288, UP, dropped=False)
    assert "which it trained on" in leak_sentence("net", 288, UP, dropped=False)
    assert "which its training left out" in leak_sentence("net", 288, OPEN, dropped=True)
    assert "not shown to differ" in leak_sentence("net", 288, OPEN, dropped=True)
    assert leak_sentence("net", 288, UP, kind="near", dropped=False).startswith(
        "288 faces have a near twin in train"
    )
    assert "agrees more often with the crowd" in crowd_sentence("net", 725, 0.5, 0.4)
    assert "agrees less often with the crowd" in crowd_sentence("net", 725, 0.3, 0.4)


def test_a_network_that_guesses_is_left_out_by_name() -> None:
    assert left_out([]) == []
    (sentence,) = left_out(["a", "b"])
    assert sentence.text.startswith("a and b are left out here")


def test_a_pair_that_guesses_is_to_be_trained_longer(made_up) -> None:
    evidence = made_up()
    evidence.add("faces", weights="dlibface", model="cnn", epochs=3)
    evidence.add("scratch", accuracy=0.25, model="cnn", epochs=4)
    answer = does_face_recognition_move_the_evidence(evidence, evidence)
    (missing,) = answer.missing
    assert "are both shown to be better than guessing" in missing.text
    assert missing.lines == ("fertool train --model cnn --recipe page --epochs 8 --seed 0",)
    assert [sentence.text.split(" is left out")[0] for sentence in answer.sentences] == ["scratch"]


def test_a_guiding_map_that_is_not_scored_is_asked_for() -> None:
    sweep = Sweep("cnn", "gradcam-abs", (SweepCondition("own", 1.0, (Run(Path("cnn-s0")),)),), ())
    evidence = SimpleNamespace(
        guidance=[Guidance(sweep, "test", [], [])], gathered=[], suite=lambda name: None, split="test"
    )
    first, *_ = does_guidance_help(evidence, None).missing
    assert "the map that guided is not scored" in first.text
    assert first.lines == ("fertool score --explainer gradcam-abs --suite attention",)
    found = SimpleNamespace(
        suite=SimpleNamespace(name="attention"),
        settings=SimpleNamespace(request=SimpleNamespace(key="gradcam-abs")),
        scores=[{"run": "cnn-s0"}],
    )
    evidence.gathered = [found]
    assert "the map that guided" not in does_guidance_help(evidence, None).missing[0].text


def test_names_with_commas_are_told_apart() -> None:
    assert listed(["cnn", "net, from scratch"]) == "cnn; and net, from scratch"
    assert listed(["a", "b, x", "c"], joint="or") == "a; b, x; or c"
    assert listed(["eyes (2.0 [1.9, 2.1])", "nose"]) == "eyes (2.0 [1.9, 2.1]) and nose"
    assert listed(["net, from scratch"]) == "net, from scratch"


def test_an_answer_as_markdown_holds_its_shell_lines() -> None:
    answer = Answer("x", "Why?", [Sentence("So.", "a test")], [Missing("no run", ("fertool train",))])
    assert "## Why?" in answer.markdown and "So. (a test)" in answer.markdown
    assert "Cannot be answered from these runs: no run; run:" in answer.markdown
    assert "    fertool train" in answer.markdown
    assert "Cannot" not in Answer("x", "Why?", [Sentence("So.")]).markdown


def test_intervals_of_nothing_show_nothing() -> None:
    unknown = Estimate(np.nan, np.nan, np.nan)
    assert "is not shown" in accuracy_sentence(pair(), unknown, FIGURE, FIGURE)
